//go:build unix

package proctest

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Book is a file of lines that a child writes. What was written survives the end of
// the process, however it comes.
type Book struct {
	mu   sync.Mutex
	file *os.File
}

// OpenBook opens a book in a directory: life says whose, kind what is in it.
func OpenBook(dir, life, kind string) (*Book, error) {
	file, err := os.OpenFile(filepath.Join(dir, life+kind), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &Book{file: file}, err
}

// Write appends a line of these fields.
func (b *Book) Write(fields ...string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, err := b.file.WriteString(strings.Join(fields, " ") + "\n")
	return err
}

// Close closes the file.
func (b *Book) Close() error { return b.file.Close() }

// EachLine calls fn with the fields of each whole line of the books of a kind in a
// directory, book by book. The last word of a process that was killed may be
// half a line, which is left out.
func EachLine(t *testing.T, dir, kind string, fn func(life string, fields []string)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+kind))
	if err != nil || len(files) == 0 {
		t.Fatalf("got files %v, %v, want some", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		life := strings.TrimSuffix(filepath.Base(file), kind)
		for line := range strings.Lines(string(data)) {
			if fields := strings.Fields(line); len(fields) > 0 && strings.HasSuffix(line, "\n") {
				fn(life, fields)
			}
		}
	}
}
