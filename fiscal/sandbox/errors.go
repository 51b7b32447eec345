package sandbox

import (
	"encoding/json"
	"net/http"
)

// Header names of the API (OPENFISKAL.md sections 2 and 5).
const (
	headerRegisterKey  = "X-Register-Api-Key"
	headerOrganization = "OpenFiskal-Organization"
	headerIdempotency  = "Idempotency-Key"
	headerRequestID    = "X-Request-Id"
)

type fiscalError struct {
	Code         string `json:"code"`
	Message      string `json:"message"`
	Jurisdiction string `json:"jurisdiction"`
}

// fail is a refusal: the error envelope of OPENFISKAL.md section 4 with its
// status.
type fail struct {
	status  int
	code    string
	message string
	param   string
	fiscal  []fiscalError
}

func (f *fail) envelope(requestID string) []byte {
	var param *string
	if f.param != "" {
		param = &f.param
	}
	b, err := json.Marshal(struct {
		Object       string        `json:"object"`
		Code         string        `json:"code"`
		Message      string        `json:"message"`
		Param        *string       `json:"param"`
		FiscalErrors []fiscalError `json:"fiscal_errors"`
		RequestID    string        `json:"request_id"`
	}{"error", f.code, f.message, param, f.fiscal, requestID})
	if err != nil {
		panic("sandbox: render an error: " + err.Error()) // strings only
	}
	return b
}

func invalid(param, message string) *fail {
	return &fail{status: http.StatusBadRequest, code: "invalid_request", param: param, message: message}
}

func unprocessable(code, param, message string) *fail {
	return &fail{status: http.StatusUnprocessableEntity, code: code, param: param, message: message}
}

// unauthorized is the same for every bad credential: an answer that tells them
// apart tells which keys exist (OPENFISKAL.md section 2).
func unauthorized() *fail {
	return &fail{status: http.StatusUnauthorized, code: "unauthorized", message: "The credential is missing or not valid."}
}

func forbidden(message string) *fail {
	return &fail{status: http.StatusForbidden, code: "forbidden", message: message}
}

func notFound(code, message string) *fail {
	return &fail{status: http.StatusNotFound, code: code, message: message}
}

func notOpen() *fail {
	return &fail{status: http.StatusConflict, code: "operation_not_open",
		message: "This operation is not in open status and cannot be modified."}
}
