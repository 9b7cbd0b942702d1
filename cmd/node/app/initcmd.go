package app

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
)

//go:embed template
var templates embed.FS

// skeleton says where a module's files come from.
var skeleton = map[string]string{
	"main.go":                 "main.go.txt",
	"topology.yaml":           "topology.yaml.txt",
	"README.md":               "README.md.txt",
	"greeter/greeter.go":      "greeter.go.txt",
	"greeter/greeter_test.go": "greeter_test.go.txt",
}

// civitasModule is this module.
const civitasModule = "github.com/civitas-go/civitas"

func initCommand(_ Options, s Streams) *cobra.Command {
	var module, replace string
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Begin a module of your own: a server, a topology, a test",
		Long: `Begin a module of your own in DIR, which is made, or is empty: a server, a
topology file that names it, the command with your Types, and a test. Nothing is
downloaded; go mod tidy does that. As long as Civitas is not published,
--replace names a checkout of it.`,
		Example: "  civitas init hello --replace ../civitas && cd hello && go mod tidy && go test ./...",
		Args:    arguments,
		RunE: func(_ *cobra.Command, args []string) error {
			dir := args[0]
			if module == "" {
				abs, err := filepath.Abs(dir)
				if err != nil {
					return err
				}
				module = filepath.Base(abs)
			}
			if !moduleName.MatchString(module) {
				return usage(fmt.Errorf("--module: %q is no module's name; give one such as example.com/hello", module))
			}
			files, err := moduleFiles(module, replace)
			if err != nil {
				return usage(err)
			}
			if err := begin(dir, module, files); err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.Out, "%s has a module %s. Now:\n  cd %s\n  go mod tidy\n  go test ./...\n  go run . run -f topology.yaml\n", dir, module, dir)
			return err
		},
	}
	cmd.Flags().StringVar(&module, "module", "", "the module's name (default DIR's)")
	cmd.Flags().StringVar(&replace, "replace", "", "a checkout of Civitas to build with")
	return cmd
}

var moduleName = regexp.MustCompile(`^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$`)

// moduleFiles are the module's go.mod and, where a checkout knows the sums
// already, its go.sum.
func moduleFiles(module, replace string) (map[string]string, error) {
	mod := "module " + module + "\n\ngo 1.26.0\n"
	if replace == "" {
		if version := moduleVersion(); strings.HasPrefix(version, "v") {
			mod += "\nrequire " + civitasModule + " " + version + "\n"
		}
		return map[string]string{"go.mod": mod}, nil
	}
	abs, err := filepath.Abs(replace)
	if err != nil {
		return nil, err
	}
	theirs, err := os.ReadFile(filepath.Join(abs, "go.mod"))
	if err != nil || !strings.HasPrefix(string(theirs), "module "+civitasModule+"\n") {
		return nil, fmt.Errorf("--replace: %s is no checkout of %s", replace, civitasModule)
	}
	sums, err := os.ReadFile(filepath.Join(abs, "go.sum"))
	if err != nil {
		return nil, err
	}
	mod += fmt.Sprintf("\nrequire %s v0.0.0\n\nreplace %s => %q\n", civitasModule, civitasModule, abs)
	return map[string]string{"go.mod": mod, "go.sum": string(sums)}, nil
}

// begin writes the files, into an empty folder only.
func begin(dir, module string, files map[string]string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case err == nil && len(entries) > 0:
		return usage(fmt.Errorf("%s is not empty; name a new folder", dir))
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	data := struct{ Module, Name string }{module, path.Base(module)}
	for file, from := range skeleton {
		text, err := templates.ReadFile("template/" + from)
		if err != nil {
			return err
		}
		t, err := template.New(from).Parse(string(text))
		if err != nil {
			return err
		}
		var b strings.Builder
		if err := t.Execute(&b, data); err != nil {
			return err
		}
		files[file] = b.String()
	}
	for file, text := range files {
		at := filepath.Join(dir, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
