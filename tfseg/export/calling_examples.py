"""Short programs that call the files of an exported version, for people to copy."""

from pathlib import Path
from typing import NamedTuple

from tensorflow.core.protobuf import saved_model_pb2

from tfseg.export.formats import EXTRA_FOLDER, FORMATS
from tfseg.export.metadata import read_metadata

SIDE = 256  # of the image in examples of files that take any size
# {output: last line of an example that has it}; the first one that the signature has is used
RESULTS = {
    "masks_png_bytes": 'open("objects.png", "wb").write(answer["masks_png_bytes"][0].numpy())',
    "mask_png_bytes": 'open("mask.png", "wb").write(answer["mask_png_bytes"][0].numpy())',
    "instances": 'instances = answer["instances"][0]  # (H, W): 0, or the number of the object',
    "boxes": 'boxes, scores, classes = answer["boxes"], answer["scores"], answer["classes"]',
    "class_ids": 'class_ids = answer["class_ids"][0]',
    "probabilities": 'probabilities = answer["probabilities"][0]',
}


class CallingExample(NamedTuple):
    """A program that calls an exported file.

    Attributes:
        title: what it calls, such as "SavedModel in Python".
        language: "python" or "bash".
        text: its lines.
    """

    title: str
    language: str
    text: str


def calling_examples(version, size: tuple[int, int] | None = None) -> list[CallingExample]:
    """Return a program for every file of an exported version, as its signature takes images.

    The SavedModel comes twice: as a REST request to TF Serving, and in Python. Where it takes image
    files, the programs send `image.png`; otherwise the REST request sends `image.npy`, and the
    others an array of zeros, to be replaced by an image.

    Args:
        version: folder of a version that `tfseg.export.saved_model` wrote.
        size: (H, W) of the images that the files of other formats take, as it was passed to
            `saved_model`; None for any size.

    Returns:
        list of `CallingExample`.

    Raises:
        FileNotFoundError: the folder is not a version that `tfseg.export.saved_model` wrote.

    Example:
        >>> import keras, tfseg
        >>> image = keras.Input((None, None, 3))
        >>> model = keras.Model(image, keras.layers.Conv2D(2, 1)(image))
        >>> version = tfseg.export.saved_model(model, "saved_models/leaves")
        >>> [example.title for example in tfseg.export.calling_examples(version)]
        ['REST request to TF Serving', 'SavedModel in Python']
    """
    version, metadata = Path(version), read_metadata(version)
    height, width, channels = metadata["image_shape"]
    outputs = _signature_outputs(version)
    signature = next(name for name in ("encoded", "uint8", "serving_default") if name in outputs)
    image = _image_line((height, width, channels), "uint8" if signature == "uint8" else "float32")
    examples = [
        CallingExample("REST request to TF Serving", "bash", _request(version, signature)),
        CallingExample(
            "SavedModel in Python",
            "python",
            _saved_model_program(version, signature, image, outputs[signature]),
        ),
    ]
    size = size or (height, width)
    image = _image_line((*size, channels), "float32")
    for name, form in FORMATS.items():
        file = version / EXTRA_FOLDER / form.file
        if file.is_file():
            result = RESULTS[_output_of(name, metadata, is_static=None not in size)]
            program = PROGRAMS[name.split("_")[0]](file.as_posix(), image)
            text = f"{program}\n{result}"
            examples.append(CallingExample(f"{file.name} in Python", "python", text))
    return examples


def _output_of(name, metadata, is_static):
    """Return the main output of a file in another format, see `inference_function`."""
    if "object_names" in metadata:
        return "boxes"
    return "probabilities" if is_static and name != "openvino" else "class_ids"


def _signature_outputs(version):
    """Return {signature: names of its outputs} without loading the model."""
    saved_model = saved_model_pb2.SavedModel()
    saved_model.ParseFromString((version / "saved_model.pb").read_bytes())
    signatures = saved_model.meta_graphs[0].signature_def
    return {name: set(signature.outputs) for name, signature in signatures.items()}


def _image_line(shape, dtype):
    height, width, channels = shape
    shape = 1, height or SIDE, width or SIDE, channels
    return f"image = np.zeros({shape}, np.{dtype})  # replace it by your image"


def _request(version, signature):
    """Return a curl command; the image is piped, since it may be longer than an argument."""
    url = f"http://localhost:8501/v1/models/{version.resolve().parent.name}:predict"
    if signature == "encoded":
        image = """{"image_bytes": {"b64": "'$(base64 < image.png | tr -d '\\n')'"}}"""
        request = f"""echo '{{"signature_name": "encoded", "instances": [{image}]}}'"""
    else:
        request = (
            'python -c "import json, numpy as np; print(json.dumps({'
            f"'signature_name': '{signature}', "
            "'instances': np.load('image.npy')[None].tolist()}))\""
        )
    return f"{request} |\n  curl -d @- {url}"


def _saved_model_program(version, signature, image, outputs):
    result = next(line for name, line in RESULTS.items() if name in outputs)
    lines = ["import numpy as np", "import tensorflow as tf", image]
    argument = "image=tf.constant(image)"
    if signature == "encoded":
        lines = ["import tensorflow as tf"]
        argument = 'image_bytes=tf.constant([open("image.png", "rb").read()])'
    lines += [
        f"model = tf.saved_model.load({version.as_posix()!r})",
        f'answer = model.signatures["{signature}"]({argument})',
        result,
    ]
    return "\n".join(lines)


def _litert_program(file, image):
    lines = [
        "import numpy as np",
        "from ai_edge_litert.interpreter import Interpreter",
        image,
        f"answer = Interpreter({file!r}).get_signature_runner()(image=image)",
    ]
    return "\n".join(lines)


def _onnx_program(file, image):
    lines = [
        "import numpy as np, onnxruntime",
        image,
        f"session = onnxruntime.InferenceSession({file!r})",
        "names = [output.name for output in session.get_outputs()]",
        'answer = dict(zip(names, session.run(names, {"image": image})))',
    ]
    return "\n".join(lines)


def _openvino_program(file, image):
    lines = [
        "import numpy as np, openvino",
        image,
        f'model = openvino.Core().compile_model({file!r}, "CPU")',
        'answer = model({"image": image})',
    ]
    return "\n".join(lines)


PROGRAMS = {"litert": _litert_program, "onnx": _onnx_program, "openvino": _openvino_program}
