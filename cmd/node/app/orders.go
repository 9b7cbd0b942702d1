package app

import (
	"errors"
	"fmt"

	"github.com/civitas-go/civitas/node"
	"github.com/civitas-go/civitas/supervisor"
)

// explainOrder says what to do in place of what was refused.
func explainOrder(server string, err error) error {
	switch {
	case errors.Is(err, node.ErrUnsupervised):
		return fmt.Errorf("%s has no supervisor that could start it again; stop the node itself, by SIGTERM", server)
	case errors.Is(err, supervisor.ErrDynamic):
		return fmt.Errorf("%s was started by request, and its dynamic supervisor forgets what it was once it ends; `stop` it, and have whoever asked for it ask again", server)
	default:
		return err
	}
}
