package transport

import (
	"encoding/json"

	"github.com/civitas-go/civitas/genserver"
)

// PublicError is the error that a reply on a public subject says, or nil if it
// is no error. It is, or has in it, a *genserver.Error, and its text is the
// server's. It is for plain clients; nodes have [Request].
func PublicError(reply Msg) error {
	head := reply.Header.Get(HeaderError)
	if head == "" {
		return nil
	}
	body := errorBody{Error: head, Code: genserver.ErrHandler.Code}
	_ = json.Unmarshal(reply.Data, &body) // a foreign service has its own body; the header tells enough then
	return &publicError{body.Error, &genserver.Error{Code: body.Code, Undelivered: body.Undelivered}}
}

// publicError keeps the text as it came: it names the server and the code.
type publicError struct {
	text string
	err  *genserver.Error
}

func (e *publicError) Error() string { return e.text }
func (e *publicError) Unwrap() error { return e.err }
