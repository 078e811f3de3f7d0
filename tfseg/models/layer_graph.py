"""How the layers of a functional model are connected.

Keras has no public names for this, so its private attributes are read only here.
"""


def is_used_once(layer) -> bool:
    """Whether a layer is called at a single place."""
    return len(layer._inbound_nodes) == 1


def consumers(layer) -> list:
    """Return the layers that take the output of `layer`."""
    return [node.operation for node in layer._outbound_nodes]


def input_tensors(layer) -> list:
    """Return the tensors that a layer takes where it is called first."""
    return layer._inbound_nodes[0].input_tensors


def producer(tensor):
    """Return the layer whose output a symbolic tensor is."""
    return tensor._keras_history.operation
