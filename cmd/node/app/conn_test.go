package app_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/civitas-go/civitas/cmd/node/app"
)

// guarded is a NATS server with JetStream that knows user bob and one nkey.
func guarded(t *testing.T) (url, seedFile string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	seedFile = filepath.Join(t.TempDir(), "user.nk")
	if err := os.WriteFile(seedFile, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(),
		Users: []*server.User{{Username: "bob", Password: "hush"}},
		Nkeys: []*server.NkeyUser{{Nkey: public}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("server is not ready")
	}
	return s.ClientURL(), seedFile
}

// command runs the command line until it ends or prints a first line.
func command(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	first := writerFunc(func(p []byte) (int, error) {
		cancel()
		return out.Write(p)
	})
	code = app.Run(ctx, app.Options{}, app.Streams{
		In: strings.NewReader(""), Out: first, Err: io.Writer(&errs),
		Getenv: func(name string) string { return env[name] },
	}, args)
	return code, out.String(), errs.String()
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestCredentials(t *testing.T) {
	t.Parallel()
	url, seed := guarded(t)
	inURL := strings.Replace(url, "nats://", "nats://bob:hush@", 1)
	call := []string{"call", "-s", url, "nobody", "{}"}
	cast := []string{"cast", "-s", url, "nobody", "{}"}
	run := []string{"run", "-o", "json", "--name", "n1", "--nats", url}
	with := func(args []string, more ...string) []string { return append(append([]string{}, args...), more...) }
	type env = map[string]string
	for what, tc := range map[string]struct {
		env  env
		args []string
		code int
		want string // in stderr, or in stdout with code 0
	}{
		"call, user":                   {nil, with(call, "--user", "bob", "--password", "hush"), 4, "no process"},
		"call, nkey":                   {nil, with(call, "--nkey", seed), 4, "no process"},
		"cast, user":                   {nil, with(cast, "--user", "bob", "--password", "hush"), 4, "no process"},
		"call, environment":            {env{"NATS_NKEY": seed}, call, 4, "no process"},
		"call, URL":                    {nil, []string{"call", "-s", inURL, "nobody", "{}"}, 4, "no process"},
		"call, URL before environment": {env{"NATS_NKEY": seed}, []string{"call", "-s", inURL, "nobody", "{}"}, 4, "no process"},
		"call, flags before environment": {
			env{"NATS_TOKEN": "no", "NATS_USER": "no", "NATS_PASSWORD": "no"}, with(call, "--nkey", seed), 4, "no process",
		},
		"call, nothing":        {nil, call, 5, "it wants credentials, and none are given"},
		"call, wrong password": {nil, with(call, "--user", "bob", "--password", "x"), 5, `it does not know user "bob" with that password; check both`},
		"cast, wrong token":    {nil, with(cast, "--token", "x"), 5, "it does not know the token"},
		"call, TLS":            {nil, with(call, "--nkey", seed, "--tlsca", "/nowhere/ca.pem"), 2, "TLS CA file /nowhere/ca.pem: no such file"},
		"call, no key":         {env{"NATS_CERT": seed}, with(call, "--nkey", seed), 2, "needs its key"},
		"call, no file":        {env{"NATS_CREDS": "/nowhere/x"}, call, 2, "creds file /nowhere/x: no such file"},
		"call, two ways":       {nil, with(call, "--token", "x", "--nkey", seed), 2, "a token and an nkey are given"},
		"call, timeout":        {env{"NATS_TIMEOUT": "soon"}, with(call, "--nkey", seed), 2, `NATS_TIMEOUT: "soon" is no duration`},
		"call, no time":        {env{"NATS_TIMEOUT": "-1s"}, with(call, "--nkey", seed), 2, "NATS_TIMEOUT: -1s is not a positive"},
		"call, flag's time":    {env{"NATS_TIMEOUT": "-1s"}, with(call, "--nkey", seed, "--timeout", "5s"), 4, "no process"},
		"run, wrong password":  {nil, with(run, "--user", "bob", "--password", "x"), 5, `it does not know user "bob"`},
		"run, user":            {nil, with(run, "--user", "bob", "--password", "hush"), 0, `"event":"ready"`},
		"run, embedded":        {nil, []string{"run", "--token", "x"}, 2, "--token is for a NATS server elsewhere"},
		"run, timeout":         {nil, with(run, "--nkey", seed, "--timeout", "0s"), 2, "--timeout: 0s is not a positive"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := command(t, tc.env, tc.args...)
			text := stderr
			if tc.code == 0 {
				text = stdout
			}
			if code != tc.code || !strings.Contains(text, tc.want) || strings.Contains(stdout+stderr, "hush") {
				t.Errorf("got code %d, stdout %q, stderr %q, want code %d with %q and no secret", code, stdout, stderr, tc.code, tc.want)
			}
		})
	}
}
