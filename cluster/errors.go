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

// ownerTaken says who has a name, and what is known of that.
func (r *Registry) ownerTaken(server string, held *heldError) *genserver.Error {
	e := held.entry
	rec, err := DecodeOwner(e.Value)
	if err != nil {
		return taken(server, fmt.Sprintf("its record %s cannot be read: %v", e.Key, err)+remedy(e.Key, r.store))
	}
	text := fmt.Sprintf("node %s owns it (incarnation %s, epoch %d, since %s)", rec.Node, rec.Incarnation, e.Seq, stamp(rec.Since))
	if host := held.session.Host; host != "" {
		text += fmt.Sprintf(" on host %s, pid %d", host, held.session.PID)
	}
	return taken(server, text+r.silence(held))
}

// nodeRefused is the error of a Join.
func (r *Registry) nodeRefused(err error) error {
	var held *heldError
	if !errors.As(err, &held) {
		return unavailable("", err)
	}
	e := held.entry
	rec, err := DecodeNode(e.Value)
	if err != nil {
		return taken("", fmt.Sprintf("node name %s: its record cannot be read: %v", e.Key.Name, err)+remedy(e.Key, r.store))
	}
	text := fmt.Sprintf("node name %s: incarnation %s has borne it since %s on host %s, pid %d",
		e.Key.Name, rec.Incarnation, stamp(rec.Since), rec.Host, rec.PID)
	return taken("", text+r.silence(held)+"; stop that process, or join under another name")
}

// silence is the state of a holder that may have died.
func (r *Registry) silence(held *heldError) string {
	if !held.silent {
		return ""
	}
	return fmt.Sprintf("; it is silent, and will be declared dead when it has been so for %v, so try again", r.timing.Judge)
}

// remedy is what to do about a record that nobody can read.
func remedy(k Key, s Store) string {
	if remover, ok := s.(interface{ RemoveCommand(k Key) string }); ok {
		return "; if no release of this program wrote it, remove it: " + remover.RemoveCommand(k)
	}
	return ""
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
