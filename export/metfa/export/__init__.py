"""From a trained bundle to what an edge device runs: ONNX in FP32 and FP16, TensorRT engines, and their proof."""
