package transport_test

import (
	"strings"
	"testing"

	"github.com/civitas-go/civitas/transport"
)

func mustSubjects(t testing.TB) transport.Subjects {
	t.Helper()
	s, err := transport.NewSubjects("dev")
	if err != nil {
		t.Fatalf("subjects: got %v, want nil", err)
	}
	return s
}

func TestSubjects(t *testing.T) {
	t.Parallel()
	s := mustSubjects(t)
	for got, want := range map[string]string{
		s.Node("I7", "a.b"):         "civitas.dev.n.I7.a.b",
		s.NodeAll("I7"):             "civitas.dev.n.I7.>",
		s.Public("a.b"):             "civitas.dev.s.a.b",
		s.Records():                 "civitas.dev.js.>",
		s.Record("own", "a.b"):      "civitas.dev.js.own.a.b",
		s.Record("lead", ""):        "civitas.dev.js.lead",
		s.Republished():             "civitas.dev.rp.>",
		s.Republish("ses", "I7"):    "civitas.dev.rp.ses.I7",
		s.Events():                  "civitas.dev.ev.>",
		s.Event("join"):             "civitas.dev.ev.join",
		s.Disconnects():             "civitas.dev.ev.disconnect",
		"cluster is " + s.Cluster(): "cluster is dev",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestSubjectsRefuseClusters(t *testing.T) {
	t.Parallel()
	for _, cluster := range []string{"", "agent", "a.b", "a b", "_x", "*", ">", strings.Repeat("x", 201)} {
		if _, err := transport.NewSubjects(cluster); err == nil {
			t.Errorf("cluster %q: got nil, want an error", cluster)
		}
	}
}

func TestSubjectNodeName(t *testing.T) {
	t.Parallel()
	s := mustSubjects(t)
	for subject, want := range map[string]string{
		"civitas.dev.n.I7.x":      "x",
		"civitas.dev.n.I7.a.b":    "a.b",
		"civitas.dev.n.I7._sup":   "_sup",
		"civitas.dev.n.I7.":       "",
		"civitas.dev.n.I7":        "",
		"civitas.dev.n.I77.x":     "",
		"civitas.dev.n.I8.x":      "",
		"civitas.prod.n.I7.x":     "",
		"civitas.dev.s.x":         "",
		"civitas.dev.n.I7.a..b":   "",
		"civitas.dev.n.I7.a.\xff": "",
		"":                        "",
	} {
		if got, ok := s.NodeName(subject, "I7"); got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", subject, got, ok, want)
		}
	}
}

func TestSubjectAdminOp(t *testing.T) {
	t.Parallel()
	s := mustSubjects(t)
	for subject, want := range map[string]string{
		s.Admin("I7", "ps"):      "ps",
		s.AdminAll("I7"):         "",
		s.Admin("I7", ""):        "",
		s.Admin("I8", "ps"):      "",
		"civitas.dev.adm.I7.a.b": "",
		"civitas.dev.adm.I7._x":  "",
		"civitas.dev.n.I7.ps":    "",
	} {
		if got, ok := s.AdminOp(subject, "I7"); got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", subject, got, ok, want)
		}
	}
}

func TestSubjectDirectName(t *testing.T) {
	t.Parallel()
	s := mustSubjects(t)
	for subject, want := range map[string]string{
		s.Direct("I7", "box"):        "box",
		s.Direct("I7", "a.b"):        "a.b",
		s.DirectAll("I7"):            "",
		s.Direct("I7", ""):           "",
		s.Direct("I7", "_node"):      "",
		s.Direct("I8", "box"):        "",
		s.Admin("I7", "call"):        "",
		"civitas.dev.adm.I7.x.box":   "",
		"civitas.dev.n.I7.call.box":  "",
		"civitas.dev.adm.I7.call.a.": "",
	} {
		if got, ok := s.DirectName(subject, "I7"); got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", subject, got, ok, want)
		}
	}
}

func TestSubjectRecordKey(t *testing.T) {
	t.Parallel()
	s := mustSubjects(t)
	for subject, want := range map[string][2]string{
		s.Record("own", "a.b"):     {"own", "a.b"},
		s.Republish("own", "a.b"):  {"own", "a.b"},
		s.Record("lead", ""):       {"lead", ""},
		"civitas.dev.js.":          {},
		"civitas.dev.js.own.":      {},
		"civitas.dev.s.own.x":      {},
		"civitas.other.js.own.x":   {},
		"$JS.civitas.dev.js.own.x": {},
	} {
		kind, key, ok := s.RecordKey(subject)
		if kind != want[0] || key != want[1] || ok != (want[0] != "") {
			t.Errorf("%q: got %q, %q, %v, want %q", subject, kind, key, ok, want)
		}
	}
}
