"""Checks of a dataset before training: `diagnose` reports everything, `check` raises at the first kind of fault."""

from tfseg.doctor.dataset_report import Report
from tfseg.doctor.diagnose import Summary, check, diagnose
from tfseg.doctor.file_findings import Finding
from tfseg.doctor.page import write_doctor_page

__all__ = ["Finding", "Report", "Summary", "check", "diagnose", "write_doctor_page"]
