package topology

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

// The tables of docs/topology.md are made of the keys that the reader knows.
func TestDocsListEveryKey(t *testing.T) {
	const path = "../docs/topology.md"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, want := string(b), string(b)
	for what, keys := range map[string][]key{
		"file": fileKeys, "transport": transportKeys, "supervisor": supervisorKeys,
		"child": childKeys, "server": without(serverKeys, names(childKeys)...),
		"dynamic": without(dynamicKeys, append(names(childKeys), names(intensityKeys)...)...),
	} {
		begin, end := "<!-- keys of "+what+" -->\n", "<!-- end -->"
		before, rest, ok := strings.Cut(want, begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no table %q", path, what)
		}
		want = before + begin + table(keys) + end + after
	}
	if got == want {
		return
	}
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("the tables of %s are not those of keys.go: run go test ./topology -run TestDocsListEveryKey -update", path)
}

func table(keys []key) string {
	b := strings.Builder{}
	b.WriteString("\n| Key | Default | |\n|---|---|---|\n")
	for _, k := range keys {
		if k.refused != "" {
			continue
		}
		byDefault := ""
		if k.byDefault != "" {
			byDefault = "`" + k.byDefault + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.name, byDefault, k.doc)
	}
	return b.String() + "\n"
}
