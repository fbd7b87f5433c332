"""Answers with what it was asked, in Python."""

from wit_world import exports
from componentize_py_types import Ok
from wit_world.imports.types import (
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
)


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        response = OutgoingResponse(Fields.from_list([("x-guest", b"py")]))
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        stream = body.write()
        stream.blocking_write_and_flush(f"py {request.path_with_query()}".encode())
        stream.__exit__(None, None, None)
        OutgoingBody.finish(body, None)
