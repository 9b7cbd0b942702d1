package supervisor

import (
	"errors"
	"fmt"

	"github.com/civitas-go/civitas/genserver"
	"github.com/civitas-go/civitas/internal/supervision"
)

// ErrRestartLimit is the code of the reason a supervisor ends with when its
// children crashed more often than it may restart them. The reason's text says
// which child, how often and how it ended the last time; errors.Is and
// errors.As find the child's own reason within, through all levels of nested
// supervisors.
var ErrRestartLimit = &genserver.Error{Code: "restart_limit"}

func exhausted(e *supervision.Exhausted) error {
	limit := &genserver.Error{
		Code: ErrRestartLimit.Code,
		Text: fmt.Sprintf("%s ended %d times in %v, %d restarts allowed", e.Child, e.Restarts, e.Window, e.MaxRestarts),
	}
	var reason *genserver.Error
	if errors.As(e.Reason, &reason) {
		limit.Reason = reason
	} else if e.Reason != nil {
		limit.Reason = &genserver.Error{Code: genserver.ErrHandler.Code, Text: e.Reason.Error()}
	}
	return limit
}
