"""Contracts compiled from source: the real one, and copies that a test may spoil."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import grpc_tools
import pytest
from crossdock import contracts
from grpc_tools import protoc

REPOSITORY = Path(__file__).parents[2]
VALIDATE = "buf/validate/validate.proto"


class ProtoTree:
    """A copy of proto/ that compiles by itself, for changing a line and seeing who notices."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(REPOSITORY / "proto" / "crossdock", root / "proto" / "crossdock")
        image = files("crossdock").joinpath("contracts.binpb").read_bytes()
        validate = root / "third_party" / VALIDATE
        validate.parent.mkdir(parents=True)
        validate.write_text(contracts.print_files(image, [VALIDATE])[VALIDATE])

    def replace(self, file: str, old: str, new: str) -> None:
        """Replaces the first occurrence in proto/crossdock/<file>; the text has to be there."""
        path = self.root / "proto" / "crossdock" / file
        text = path.read_text()
        assert old in text, f"{file} does not contain {old!r}"
        path.write_text(text.replace(old, new, 1))

    def line_of(self, file: str, text: str) -> int:
        """Number of the first line that contains the text."""
        lines = (self.root / "proto" / "crossdock" / file).read_text().splitlines()
        return next(number for number, line in enumerate(lines, start=1) if text in line)

    def compile(self) -> bytes:
        """The image with source info."""
        proto = self.root / "proto"
        out = self.root / "image.binpb"
        names = sorted(str(path.relative_to(proto)) for path in proto.rglob("*.proto"))
        status = protoc.main(
            [
                "protoc",
                f"-I{proto}",
                f"-I{self.root / 'third_party'}",
                f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
                "--include_imports",
                "--include_source_info",
                f"--descriptor_set_out={out}",
                *names,
            ]
        )
        assert status == 0, "the changed contract does not compile"
        return out.read_bytes()


@pytest.fixture
def proto_tree(tmp_path: Path) -> ProtoTree:
    """A fresh copy of the contract's source."""
    return ProtoTree(tmp_path)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The contract as it stands in proto/, compiled with source info."""
    return ProtoTree(tmp_path_factory.mktemp("contract")).compile()


@pytest.fixture(scope="session")
def contract(image: bytes) -> contracts.Contract:
    """The compiled rules of the contract in proto/."""
    return contracts.Contract(image)


@pytest.fixture
def findings_after(proto_tree: ProtoTree) -> Callable[[str, str, str], tuple[str, ...]]:
    """What the compiler says after one replacement; empty: nothing."""

    def spoil(file: str, old: str, new: str) -> tuple[str, ...]:
        proto_tree.replace(file, old, new)
        try:
            contracts.Contract(proto_tree.compile())
        except contracts.ContractError as error:
            return error.findings
        return ()

    return spoil
