package cluster_test

import (
	"testing"

	"github.com/civitas-go/civitas/cluster"
)

func TestParseDisconnect(t *testing.T) {
	t.Parallel()
	const server = "NCXKA4HMHI5VU3LWDSLF4Q2QGGBEZVRJSCG7VFJKL2VZJWE5IR6TJ5IZ"
	for _, tt := range []struct {
		name, data string
		want       cluster.Witness
		account    string
	}{
		{
			"a server's", `{"type":"io.nats.server.advisory.v1.client_disconnect","id":"x","timestamp":"2026-11-28T04:00:00Z",
				"server":{"name":"n1","host":"0.0.0.0","id":"` + server + `","ver":"2.15.2","jetstream":true},
				"client":{"start":"2026-11-28T03:00:00Z","host":"127.0.0.1","id":18446744073709551615,"acc":"APP","name":"civitas dev/n1 witness"},
				"sent":{"msgs":1,"bytes":2},"received":{"msgs":1,"bytes":2},"reason":"Client Closed"}`,
			cluster.Witness{Server: server, Client: 1<<64 - 1},
			"APP",
		},
		{"a connect", `{"type":"io.nats.server.advisory.v1.client_connect","server":{"id":"A"},"client":{"id":1}}`, cluster.Witness{}, ""},
		{"no server", `{"type":"io.nats.server.advisory.v1.client_disconnect","client":{"id":1}}`, cluster.Witness{}, ""},
		{"no client", `{"type":"io.nats.server.advisory.v1.client_disconnect","server":{"id":"A"}}`, cluster.Witness{}, ""},
		{"negative client", `{"type":"io.nats.server.advisory.v1.client_disconnect","server":{"id":"A"},"client":{"id":-1}}`, cluster.Witness{}, ""},
		{"odd server", `{"type":"io.nats.server.advisory.v1.client_disconnect","server":{"id":"A B"},"client":{"id":1}}`, cluster.Witness{}, ""},
		{"no JSON", `+OK`, cluster.Witness{}, ""},
		{"nothing", ``, cluster.Witness{}, ""},
	} {
		w, account, ok := cluster.ParseDisconnect([]byte(tt.data))
		if w != tt.want || account != tt.account || ok != (w != cluster.Witness{}) {
			t.Errorf("%s: got %+v of account %q, %v, want %+v of %q", tt.name, w, account, ok, tt.want, tt.account)
		}
	}
}

func FuzzDisconnect(f *testing.F) {
	f.Add(cluster.Notice(cluster.Witness{Server: "A", Client: 7}))
	f.Add([]byte(`{"type":"io.nats.server.advisory.v1.client_disconnect","server":{"id":"A"},"client":{"id":1e3}}`))
	f.Add([]byte(`{"server":[],"client":{"id":"1"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		w, _, ok := cluster.ParseDisconnect(data)
		if ok != (w.Server != "" && w.Client != 0) {
			t.Errorf("parse %q: got %+v, %v", data, w, ok)
		}
		if again, _, _ := cluster.ParseDisconnect(cluster.Notice(w)); ok && again != w {
			t.Errorf("parse %+v's notice: got %+v", w, again)
		}
	})
}
