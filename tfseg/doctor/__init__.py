"""Dataset checks before training: `diagnose` returns a report, `check` raises an error."""

from tfseg.doctor.check import Summary, check
from tfseg.doctor.dataset_report import Report
from tfseg.doctor.diagnose import diagnose
from tfseg.doctor.findings import Finding
from tfseg.doctor.page import write_html

__all__ = [
    "Finding",
    "Report",
    "Summary",
    "check",
    "diagnose",
    "write_html",
]
