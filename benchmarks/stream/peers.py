"""What people would use instead: the same clip and a classifier of the same cost."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .passes import WARM_UP, Cost

if TYPE_CHECKING:
    from pathlib import Path

    from metfa.runtime.bundle.contract import InputSpec

ULTRALYTICS = """
import json, sys, time
import torch
try:
    import torchvision
except RuntimeError:  # one that was built for another PyTorch: its Python code will do, once its operators are known
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):  # of detectors; a classifier calls neither
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import numpy as np
import onnx
from onnx import TensorProto, helper
from ultralytics import YOLO

# The bundle's graph as ultralytics' classifiers are: float [1, 3, H, W] in 0 to 1, softmax out.
graph = onnx.load(sys.argv[1])
height, width = (dimension.dim_value for dimension in graph.graph.input[0].type.tensor_type.shape.dim[2:])
frame = graph.graph.input[0].name
grey = [
    helper.make_node("ReduceMean", ["images", "channels"], ["grey"], keepdims=1),
    helper.make_node("Mul", ["grey", "levels"], ["scaled"]),
    helper.make_node("Cast", ["scaled"], [frame], to=TensorProto.UINT8),
]
graph.graph.initializer.append(helper.make_tensor("levels", TensorProto.FLOAT, [], [255.0]))
graph.graph.initializer.append(helper.make_tensor("channels", TensorProto.INT64, [1], [1]))
for node in reversed(grey):
    graph.graph.node.insert(0, node)
graph.graph.node.append(helper.make_node("Softmax", ["logits"], ["output0"], axis=1))
classes = graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value
del graph.graph.input[:], graph.graph.output[:]
graph.graph.input.append(helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, height, width]))
graph.graph.output.append(helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, classes]))
metadata = {
    "task": "classify", "imgsz": str([height, width]), "stride": "1", "batch": "1",
    "names": str({index: str(index) for index in range(classes)}),
}
del graph.metadata_props[:]
for key, value in metadata.items():
    graph.metadata_props.add(key=key, value=value)
onnx.save(graph, sys.argv[3])
model = YOLO(sys.argv[3], task="classify")
walls, inference, count = [], [], 0
for result in model.predict(sys.argv[2], stream=True, imgsz=(height, width), device="cpu", verbose=False):
    walls.append((time.perf_counter(), time.process_time()))
    inference.append(result.speed["inference"])
warm = int(sys.argv[4])
timed = len(walls) - warm
print(json.dumps({
    "wall_ms": 1000 * (walls[-1][0] - walls[warm - 1][0]) / timed,
    "cpu_ms": 1000 * (walls[-1][1] - walls[warm - 1][1]) / timed,
    "inference_ms": float(np.median(inference[warm:])),
}))
"""


def time_opencv(onnx: Path, video: Path, size: InputSpec) -> Cost:
    """Return what a frame takes in a plain loop of OpenCV's decoder and OpenCV's own network module.

    Raises:
        cv2.error: it cannot run the graph.
    """
    network = cv2.dnn.readNetFromONNX(str(onnx))
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG)
    times = []
    while True:
        read, image = capture.read()
        if not read:
            break
        grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (size.width, size.height))
        network.setInput(grey[np.newaxis, np.newaxis])
        network.forward("logits")
        times.append((time.perf_counter(), time.process_time()))
    wall, cpu = np.subtract(times[-1], times[WARM_UP - 1]) / (len(times) - WARM_UP)
    return Cost(1000 * float(wall), 1000 * float(cpu))


def time_ultralytics(python: Path, onnx: Path, video: Path, scratch: Path) -> dict[str, float]:
    """Return what a frame takes in ``predict(stream=True)`` of the environment of ``python``.

    Raises:
        subprocess.CalledProcessError: ultralytics is not installed there, or cannot run the graph.
    """
    done = subprocess.run(
        [python, "-c", ULTRALYTICS, onnx, video, scratch / "peer.onnx", str(WARM_UP)],
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))
