"""A protoc plugin around grpc_tools: buf has no built-in for the Python service stubs."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc


def generate(request: plugin_pb2.CodeGeneratorRequest) -> plugin_pb2.CodeGeneratorResponse:
    """Run the service generator over the files asked for; files without a service give nothing."""
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    with_services = {file.name for file in request.proto_file if file.service}
    wanted = sorted(with_services.intersection(request.file_to_generate))
    if not wanted:
        return response
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image.binpb")
        image.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        arguments = ["protoc", f"--descriptor_set_in={image}", f"--grpc_python_out={folder}"]
        if protoc.main([*arguments, *wanted]) != 0:
            response.error = "grpc_tools could not generate the service stubs"
            return response
        for path in sorted(Path(folder).rglob("*_pb2_grpc.py")):
            name = path.relative_to(folder).as_posix()
            response.file.add(name=name, content=path.read_text(encoding="utf-8"))
    return response


if __name__ == "__main__":
    asked = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(generate(asked).SerializeToString())
