"""etcd's protobuf messages, as `etcd.proto` lists them: `messages.PutRequest` and so on.

They are made when this module is loaded, in a pool of their own: any client of etcd in the same
process has registered its own under the same names.
"""

import re
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Field = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    name: Field.Type.Value(f"TYPE_{name.upper()}")
    for name in ("bytes", "string", "bool", "int64", "uint64", "uint32")
}
_TOKEN = re.compile(r'//[^\n]*|"[^"]*"|[\w.]+|[{}=;]')


class _Reader:
    """Reads the part of the protobuf language that `etcd.proto` is written in."""

    def __init__(self, text: str) -> None:
        self._tokens = (t for t in _TOKEN.findall(text) if not t.startswith("//"))
        self.file = descriptor_pb2.FileDescriptorProto(
            name="sampan/gateway/etcd.proto", package="sampan.etcd", syntax="proto3"
        )

    def read(self) -> Any:
        """The file's descriptor."""
        for token in self._tokens:
            if token == "message":
                self._message(self.file.message_type.add())
            elif token == "enum":
                self._enum(self.file.enum_type.add())
            else:
                self._rest()  # syntax
        return self.file

    def _rest(self) -> list[str]:
        """What stands before the next semicolon."""
        return list(iter(self._tokens.__next__, ";"))

    def _name(self) -> str:
        name: str = next(self._tokens)
        next(self._tokens)  # the brace
        return name

    def _message(self, message: Any) -> None:
        message.name = self._name()
        while (token := next(self._tokens)) != "}":
            if token == "message":
                self._message(message.nested_type.add())
            elif token == "enum":
                self._enum(message.enum_type.add())
            elif token == "oneof":
                message.oneof_decl.add(name=self._name())
                while (token := next(self._tokens)) != "}":
                    field = self._field(message, token)
                    field.oneof_index = len(message.oneof_decl) - 1
            else:
                self._field(message, token)

    def _field(self, message: Any, first: str) -> Any:
        *repeated, kind, name, _equals, number = [first, *self._rest()]
        label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
        field = message.field.add(name=name, number=int(number), label=label)
        if kind in SCALARS:
            field.type = SCALARS[kind]
        else:
            field.type_name = kind  # a message or an enumeration: the pool finds out
        return field

    def _enum(self, enum: Any) -> None:
        enum.name = self._name()
        while (name := next(self._tokens)) != "}":
            _equals, number = self._rest()
            enum.value.add(name=name, number=int(number))


def _load() -> dict[str, Any]:
    text = Path(__file__).with_name("etcd.proto").read_text(encoding="utf-8")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(_Reader(text).read().SerializeToString())
    file = pool.FindFileByName("sampan/gateway/etcd.proto")
    return {
        name: message_factory.GetMessageClass(descriptor)
        for name, descriptor in file.message_types_by_name.items()
    }


globals().update(_load())


def __getattr__(name: str) -> Any:  # so that type checkers know that there are more names
    raise AttributeError(f"etcd.proto has no message {name}")
