package app

import (
	"fmt"

	"github.com/civitas-go/civitas/transport"
)

// checkURL refuses a list of NATS URLs before anything is tried; from says who
// gave it.
func checkURL(from, list string) error {
	if _, err := transport.CheckURLs(list); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return nil
}
