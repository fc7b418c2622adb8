package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	caudal "github.com/caudal-project/caudal/go"
)

// A failure is an error as a client gets it: a status, and {"error": text, "code": word}.
type failure struct {
	Status  int    `json:"-"`
	Message string `json:"error"`
	Code    string `json:"code"`
}

// Error gives the message.
func (f *failure) Error() string { return f.Message }

// refused is a request that is wrong in what it says.
func refused(code caudal.Code, format string, values ...any) *failure {
	return &failure{http.StatusBadRequest, fmt.Sprintf(format, values...), string(code)}
}

var (
	errQueueFull = &failure{http.StatusTooManyRequests, "the queue of feedback is full; try again", "busy"}
	errStopping  = &failure{http.StatusServiceUnavailable, "the service is stopping", string(caudal.CodeClosed)}
)

// statuses are those of caudal's codes; of others it is 500.
var statuses = map[caudal.Code]int{
	caudal.CodeArgument:  http.StatusBadRequest,
	caudal.CodeDType:     http.StatusBadRequest,
	caudal.CodeShape:     http.StatusBadRequest,
	caudal.CodeFormat:    http.StatusBadRequest,
	caudal.CodeClosed:    http.StatusServiceUnavailable,
	caudal.CodeMemory:    http.StatusServiceUnavailable,
	caudal.CodeDeadline:  http.StatusServiceUnavailable,
	caudal.CodeCancelled: http.StatusServiceUnavailable,
}

// failureOf gives any error as a client gets it. What it gives of an error that it does not know says nothing of the
// service's inside.
func failureOf(err error) *failure {
	var known *failure
	if errors.As(err, &known) {
		return known
	}
	var e *caudal.Error
	if errors.As(err, &e) {
		if status, found := statuses[e.Code]; found {
			return &failure{status, e.Message, string(e.Code)}
		}
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return &failure{
			http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", large.Limit), string(caudal.CodeMemory),
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &failure{http.StatusRequestTimeout, "the body took too long to come", string(caudal.CodeDeadline)}
	}
	return &failure{http.StatusInternalServerError, "the service made a mistake", string(caudal.CodeInternal)}
}

// answer writes a value as JSON.
func answer(w http.ResponseWriter, status int, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		text, status = []byte(`{"error":"the answer has no JSON form","code":"internal"}`), http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// What is wrong with the connection, the server sees itself.
	_, _ = w.Write(append(text, '\n'))
}
