"""What the HTTP API refuses, and with which status.

ElysiaChatError
└── FrontEndError
    ├── UnprotectedAddressError   others could reach what has neither tokens nor a password
    ├── TokensFileError           the file of tokens cannot be read
    └── RequestRefusedError       a request is not answered
        ├── InvalidRequestError   400: something in it is wrong
        ├── TokenRefusedError     401: no token, or an unknown one
        ├── HostRefusedError      403: without tokens, only requests to this machine's own name are answered
        ├── NotFoundError         404: no such model, voice or address
        ├── BodyTooLargeError     413
        ├── TooManyRequestsError  429: the client has sent too many lately
        ├── QueueFullError        503: too many wait already
        └── NotReadyError         503: something is still being prepared
"""

from elysia_chat.ui.errors import FrontEndError


class UnprotectedAddressError(FrontEndError):
    """Others can reach the address, and nothing keeps them out."""


class TokensFileError(FrontEndError):
    """The file of tokens cannot be read, or holds none."""


class RequestRefusedError(FrontEndError):
    """A request is not answered.

    Attributes:
        status: of the response.
        kind: the `type` of OpenAI's errors.
        code: names the reason for programs.
        param: the field of the request that is wrong.
        retry_after: seconds after which another attempt makes sense.

    Args:
        message: one line.
        param: see above.
        code: in the place of the class's own.
        retry_after: see above.
    """

    status = 400
    kind = "invalid_request_error"
    code: str | None = None

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.param = param
        self.retry_after = retry_after
        if code is not None:
            self.code = code


class InvalidRequestError(RequestRefusedError):
    """Something in the request is wrong, or cannot be had here."""


class TokenRefusedError(RequestRefusedError):
    """The request bears no token, or an unknown one."""

    status = 401
    kind = "authentication_error"
    code = "invalid_api_key"


class HostRefusedError(RequestRefusedError):
    """Without tokens only requests to this machine's own name are answered, so that no web page can send others."""

    status = 403
    kind = "permission_error"
    code = "host_not_allowed"


class NotFoundError(RequestRefusedError):
    """There is no such model, voice or address."""

    status = 404
    code = "not_found"


class BodyTooLargeError(RequestRefusedError):
    """The body has more bytes than are taken."""

    status = 413
    code = "body_too_large"


class TooManyRequestsError(RequestRefusedError):
    """The client has sent too many requests lately."""

    status = 429
    kind = "rate_limit_error"
    code = "rate_limit_exceeded"


class QueueFullError(RequestRefusedError):
    """Too many requests wait for their turn already."""

    status = 503
    kind = "server_error"
    code = "queue_full"


class NotReadyError(RequestRefusedError):
    """Something is still being prepared."""

    status = 503
    kind = "server_error"
    code = "not_ready"
