package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/civitas-go/civitas/transport"
)

// mostConnections bounds an answer about one connection.
const mostConnections = 1 << 20

// connectionsRequest asks for a connection if it is one that has ended.
type connectionsRequest struct {
	Client uint64 `json:"cid"`
	State  int    `json:"state"` // 1 is of those that have ended
}

// connections is the part of a server's answer that is of use.
type connections struct {
	Server struct {
		ID string `json:"id"`
	} `json:"server"`
	Data struct {
		Connections []struct {
			Client uint64 `json:"cid"`
			Stop   string `json:"stop"`
		} `json:"connections"`
	} `json:"data"`
}

// globalAccount is where a server has the connections that are being made, and those of
// clients that have no other account.
const globalAccount = "$G"

// errGlobal is for clients of the global account. A server forgets its connections as they
// end, so the answer would say nothing; and nats-server 2.15 reads what is being
// written of those that are being made.
var errGlobal = fmt.Errorf("%w: this node's user is in the global account, whose connections servers forget as they end", ErrNotAsked)

// parseConnections reads which server answers, and whether it says that a client's
// connection to it has ended. That it does not know one says nothing: it may have
// forgotten it, or the connection may be of another account.
func parseConnections(data []byte, client uint64) (server string, ended bool) {
	var c connections
	if len(data) > mostConnections || json.Unmarshal(data, &c) != nil {
		return "", false
	}
	for _, conn := range c.Data.Connections {
		ended = ended || conn.Client == client && conn.Stop != ""
	}
	return c.Server.ID, ended
}

// Ended asks all servers at once, each of which may answer, and takes the word of a
// connection's own.
func (l *natsLinks) Ended(ctx context.Context, all []Witness) (ended []Witness, err error) {
	l.mu.Lock()
	err = l.noAnswers
	l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	for _, w := range all {
		yes, err := ask(ctx, l.conn.Conn(), w)
		if err != nil {
			return ended, fmt.Errorf("ask NATS server %s about connection %d: %w", w.Server, w.Client, err)
		}
		if yes {
			ended = append(ended, w)
		}
	}
	return ended, nil
}

// ask waits for the answer of the connection's server.
func ask(ctx context.Context, nc *nats.Conn, w Witness) (ended bool, err error) {
	answers, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return false, err
	}
	defer func() { _ = answers.Unsubscribe() }()
	request, _ := json.Marshal(connectionsRequest{w.Client, 1}) // numbers always can be
	if err := nc.PublishRequest(transport.Connections, answers.Subject, request); err != nil {
		return false, err
	}
	for {
		m, err := answers.NextMsgWithContext(ctx)
		if err != nil {
			return false, err
		}
		if server, ended := parseConnections(m.Data, w.Client); server == w.Server {
			return ended, nil
		}
	}
}

// asks has servers asked from now on, unless there is a reason not to.
func (l *natsLinks) asks(reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noAnswers = reason
}

// noRequest is refused by the servers before they look at any connection.
var noRequest = []byte("?")

// mayAsk finds out, by a connection like the node's own, whether servers may be asked
// about connections, and whether nobody but them can answer. The reason is an
// [ErrNotAsked]; any other error says that it could not be found out.
func (w *natsWitness) mayAsk(ctx context.Context) (reason, err error) {
	if _, err := w.nc.SubscribeSync(transport.Connections); err != nil {
		return nil, err
	}
	if err := w.Ping(ctx); err != nil {
		return nil, err
	}
	if !w.refused("Subscription") {
		return fmt.Errorf("%w: any client may subscribe to %s and answer in a server's place; deny it to this node's user and all others", ErrNotAsked, transport.Connections), nil
	}
	if err := w.nc.PublishRequest(transport.Connections, w.nc.NewInbox(), noRequest); err != nil {
		return nil, err
	}
	if err := w.Ping(ctx); err != nil {
		return nil, err
	}
	if w.refused("Publish") {
		return fmt.Errorf("%w: this node's user may not publish to %s", ErrNotAsked, transport.Connections), nil
	}
	return nil, nil
}

// refused reports that the last thing the server said is that this is not permitted.
func (w *natsWitness) refused(what string) bool {
	err := w.nc.LastError()
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), what+` to "`+transport.Connections)
}
