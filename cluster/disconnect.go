package cluster

import (
	"encoding/json"

	"github.com/civitas-go/civitas/internal/name"
)

// disconnectType is what NATS calls its notices of ended connections.
const disconnectType = "io.nats.server.advisory.v1.client_disconnect"

// mostDisconnect is more than a notice ever has, with a user's JWT in it.
const mostDisconnect = 1 << 20

// disconnect is the part of a notice that is of use.
type disconnect struct {
	Type   string `json:"type"`
	Server struct {
		ID string `json:"id"`
	} `json:"server"`
	Client struct {
		ID      uint64 `json:"id"`
		Account string `json:"acc"`
	} `json:"client"`
}

// parseDisconnect reads which connection has ended, and which account it was of. What
// is no notice of NATS's is passed over.
func parseDisconnect(data []byte) (w Witness, account string, ok bool) {
	var d disconnect
	if len(data) > mostDisconnect || json.Unmarshal(data, &d) != nil || d.Type != disconnectType {
		return Witness{}, "", false
	}
	if name.CheckToken("server", d.Server.ID) != nil || d.Client.ID == 0 {
		return Witness{}, "", false
	}
	return Witness{Server: d.Server.ID, Client: d.Client.ID}, d.Client.Account, true
}

// notice is that of the connection's end, as anyone could write it.
func (w Witness) notice() []byte {
	d := disconnect{Type: disconnectType}
	d.Server.ID, d.Client.ID = w.Server, w.Client
	data, _ := json.Marshal(d) // strings and a number always can
	return data
}
