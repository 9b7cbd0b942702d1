package cluster

import (
	"errors"
	"fmt"
	"time"

	"github.com/civitas-go/civitas/genserver"
)

var errLeft = errors.New("the node has left the cluster")

func taken(server, text string) *genserver.Error {
	return &genserver.Error{Code: genserver.ErrNameTaken.Code, Server: server, Text: text}
}

func ownerTaken(server string, e Entry, s Store) *genserver.Error {
	rec, err := DecodeOwner(e.Value)
	if err != nil {
		return taken(server, fmt.Sprintf("its record %s cannot be read: %v", e.Key, err)+remedy(e.Key, s))
	}
	return taken(server, fmt.Sprintf("node %s owns it (incarnation %s, epoch %d, since %s)",
		rec.Node, rec.Incarnation, e.Seq, stamp(rec.Since))+remedy(e.Key, s))
}

// remedy is what to do about a record whose holder is gone.
func remedy(k Key, s Store) string {
	if remover, ok := s.(interface{ RemoveCommand(k Key) string }); ok {
		return "; if it is gone without having left, remove its record: " + remover.RemoveCommand(k)
	}
	return ""
}

func nodeTaken(e Entry, s Store) *genserver.Error {
	holder := "its record cannot be read"
	if rec, err := DecodeNode(e.Value); err == nil {
		holder = fmt.Sprintf("incarnation %s has borne it since %s on host %s, pid %d",
			rec.Incarnation, stamp(rec.Since), rec.Host, rec.PID)
	}
	text := "node name " + e.Key.Name + ": " + holder + "; stop that process, or join under another name"
	return taken("", text+remedy(e.Key, s))
}

func noProcess(server, text string) *genserver.Error {
	return &genserver.Error{Code: genserver.ErrNoProcess.Code, Server: server, Text: text, Undelivered: true}
}

func unavailable(server string, cause error) *genserver.Error {
	return &genserver.Error{Code: genserver.ErrUnavailable.Code, Server: server, Text: cause.Error()}
}

// undelivered marks the error of a message that has not left.
func undelivered(e *genserver.Error) *genserver.Error {
	e.Undelivered = true
	return e
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
