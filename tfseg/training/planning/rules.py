"""The rules by which a training is planned, in one table. Each names where its numbers are from.

crop            the median image, scaled to at most 96K pixels with its proportions; sides are
                multiples of 32. nnU-Net, too, takes as much of the median image as fits
                (arXiv:1809.10486); the number of pixels is that of the recipe `camvid`.
with objects    a square of 4 diameters of a large object (quantile 0.95), 256 to 384 pixels:
                recipes `dsb2018` and `coco64_panoptic`.
detectors       the median image, scaled to at most 416 x 416 pixels: recipes `coco64`, `bccd`.
encoder         EfficientNet-Lite0 with ImageNet weights if its package is installed and crops
                have 64 pixels or more: mean IoU 0.872 instead of 0.850 on stained tissue.
no encoder      a U-Net of 32 filters, doubled per level; crops are halved while 4 pixels remain
                on each side (nnU-Net), at most 4 times.
normalization   each image by itself if the brightest pixels of images differ more than twofold
                (quantiles 0.1 and 0.9): nuclei (DSB 2018) 3.0, all others measured up to 1.2.
orientation     turned by any angle and mirrored if labels are distributed alike in top and
                bottom, and in left and right: a difference of at most 0.05, over at least 8
                images. Measured: streets (CamVid) 0.86, slices of a brain 0.07, neurons (ISBI
                2012) 0.03, nuclei (DSB 2018) 0.00. Otherwise turned by 10 degrees at most, and
                mirrored unless left and right differ by more than 0.1.
scale           0.8 to 1.25 (recipe `isbi2012`) without an up and down, if all images have one
                size and objects differ less than 2.5-fold; otherwise 0.7 to 1.5.
colors          brightness and contrast by half of what a bright and a dark image differ, at
                least 0.1 and 0.2 (recipe `camvid`), at most 0.2 and 0.3. None of them, but
                gamma, where each image is normalized (recipe `dsb2018`).
microscope      without an up and down also elastic deformation, blur and noise: AP 0.773
                instead of 0.744 in the recipe `dsb2018`.
class weights   the fourth root of median frequency balancing if a class has more than 10 times
                the pixels of another one: recipe `camvid`.
loss            cross entropy + Dice, see `tfseg.losses`.
batch           as many crops as have half a million pixels, at most 16, and at most 5 % of the
                pixels of the dataset (nnU-Net), but 2. Crops become fewer, then smaller, until
                the predicted memory is there. Validation steps have as many pixels.
optimizer       AdamW at 0.002 with a cosine schedule (recipes `camvid`, `dsb2018`); detectors
                at 0.001 with clipped gradients (recipe `bccd`).
head            star for many small objects, center with stuff, otherwise a detector; see
                `tfseg.doctor.numbered_objects.fitting_head`.
grid            of a star head: 1 if small objects have less than 5 pixels, 4 if the median has
                more than 80, otherwise 2.
anchors         those that the doctor proposes if the default ones cover less than 95 %.
folds           none; with fewer than 50 images the reason mentions them.
patience        8 of the 20 rounds.
cache           in memory if decoded images take at most an eighth of it.
window          1024 pixels if an image has more than 2 megapixels.

A planned training of 10 minutes on the first 20 sections of ISBI 2012, on 2 cores beside other
work, has a pixel accuracy of 0.918 on the last 4, the recipe `isbi2012` 0.919 after 11 minutes.
"""

from tfseg.training.planning import augment_rules, crop_rules, fit_rules, network_rules

DETECTOR_RULES = (
    crop_rules.detector_size,
    network_rules.encoder,
    network_rules.normalization,
    network_rules.anchors,
    augment_rules.mirrored_boxes,
    augment_rules.colors,
    fit_rules.detector_batch,
    fit_rules.detector_optimizer,
    fit_rules.patience,
    fit_rules.cache,
)
PIXEL_RULES = (
    network_rules.normalization,
    augment_rules.orientation,
    augment_rules.scale,
    augment_rules.colors,
    augment_rules.microscope,
    fit_rules.batch,
    fit_rules.optimizer,
    fit_rules.patience,
    fit_rules.cache,
    network_rules.window,
)
SEMANTIC_RULES = (
    crop_rules.crop_of_image,
    network_rules.network,
    *PIXEL_RULES,
    fit_rules.loss,
    fit_rules.class_weights,
    fit_rules.folds,
)
CENTER_RULES = (crop_rules.crop_around_objects, network_rules.encoder, *PIXEL_RULES)
# Each rule is a function of the `DatasetFacts`, of {field: value} of what was decided before, and
# of the memory in GB. It returns a `Decision`, or None to keep the default of `TrainConfig`.
RULES = {  # by head
    None: SEMANTIC_RULES,
    "star": (*CENTER_RULES, network_rules.grid),
    "center": CENTER_RULES,
    "faster_rcnn": DETECTOR_RULES,
    "mask_rcnn": DETECTOR_RULES,
}
