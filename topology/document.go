package topology

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// Limits of a file: ample for ten thousand servers, and a second's work at the worst.
const (
	maxBytes    = 1 << 20
	maxDepth    = 100
	maxNodes    = 400_000 // what anchors and aliases stand for included
	maxMistakes = 200     // that are told
)

// parse makes the one document's content of a file's bytes; nil where it can't,
// and then there is a mistake.
func (l *loading) parse(data []byte) *yaml.Node {
	if len(data) > maxBytes {
		l.mistakeAt(1, 1, "", fmt.Sprintf("the file is larger than %d bytes", maxBytes), "")
		return nil
	}
	if !l.readable(data) {
		return nil
	}
	loader, err := yaml.NewLoader(strings.NewReader(string(data)), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		l.notYAML(data, err)
		return nil
	}
	var doc, next yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0:
		l.empty()
		return nil
	case err != nil:
		l.notYAML(data, err)
		return nil
	}
	switch err := loader.Load(&next); {
	case err == nil:
		l.mistakeAt(max(next.Line, 1), max(next.Column, 1), "", "a second document; a topology is one", "put it in a file of its own")
		return nil
	case !errors.Is(err, io.EOF):
		l.notYAML(data, err)
		return nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		l.empty()
		return nil
	}
	if !l.bounded(root) {
		return nil
	}
	return root
}

func (l *loading) empty() {
	l.mistakeAt(1, 1, "", "the file is empty", "a topology begins with supervision:")
}

// readable refuses bytes that are no text, which the YAML reader would place
// nowhere.
func (l *loading) readable(data []byte) bool {
	line, column := 1, 1
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			l.mistakeAt(line, column, "", fmt.Sprintf("byte %#02x is not UTF-8", data[i]), "")
			return false
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f:
			l.mistakeAt(line, column, "", fmt.Sprintf("the control character %U", r), "")
			return false
		case r == '\n':
			line, column = line+1, 0
		}
		column++
		i += size
	}
	return true
}

// notYAML puts the YAML reader's complaint into our form.
func (l *loading) notYAML(data []byte, err error) {
	line, column, message := 1, 1, err.Error()
	var fault *yaml.LoadError
	if errors.As(err, &fault) {
		message = fault.Message
		if fault.ContextMsg != "" {
			message = fault.ContextMsg + ": " + message
		}
		if fault.Mark.Line > 0 {
			line, column = fault.Mark.Line, max(fault.Mark.Column, 1)
		}
	}
	l.mistakeAt(line, column, "", "not YAML: "+message, yamlHint(data, line))
}

// yamlHint is what is wrong where files are most often wrong.
func yamlHint(data []byte, line int) string {
	lines := strings.Split(string(data), "\n")
	if line > len(lines) {
		return ""
	}
	text := lines[line-1]
	blank := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
	switch {
	case strings.Contains(blank, "\t"):
		return "indent with spaces, not tabs"
	case strings.Contains(text, "${") && strings.ContainsAny(text, "{["):
		return `within {} and [] a reference needs quotes: "${NAME}"`
	}
	return ""
}

// bounded refuses what is too deep or, with its aliases written out, too large.
func (l *loading) bounded(root *yaml.Node) bool {
	left, above := maxNodes, map[*yaml.Node]bool{root: true}
	var walk func(n *yaml.Node, depth int) string
	walk = func(n *yaml.Node, depth int) string {
		left--
		switch {
		case left < 0:
			return fmt.Sprintf("with its aliases written out, the file has more than %d values", maxNodes)
		case depth > maxDepth:
			return fmt.Sprintf("nested deeper than %d", maxDepth)
		case n.Kind == yaml.AliasNode:
			if above[n.Alias] {
				return fmt.Sprintf("the alias *%s is within its own anchor", n.Value)
			}
			return walk(n.Alias, depth)
		case len(n.Content) == 0:
			return ""
		}
		above[n] = true
		defer delete(above, n)
		for _, c := range n.Content {
			if fault := walk(c, depth+1); fault != "" {
				return fault
			}
		}
		return ""
	}
	for _, n := range root.Content {
		if fault := walk(n, 1); fault != "" {
			l.mistakeAt(n.Line, n.Column, "", fault, "")
			return false
		}
	}
	return true
}

// plain is what an alias stands for.
func plain(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}
