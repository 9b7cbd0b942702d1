//go:build unix

package proctest

import (
	"bytes"
	"io"
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
	NewTail(dir, kind).Each(t, fn)
}

// Tail reads the books of a kind in a directory as they grow.
type Tail struct {
	pattern, kind string
	read          map[string]int64 // of each file, in bytes
}

// NewTail begins at the beginning of all books.
func NewTail(dir, kind string) *Tail {
	return &Tail{filepath.Join(dir, "*"+kind), kind, map[string]int64{}}
}

// Each calls fn with the fields of each whole line that is new, book by book.
func (r *Tail) Each(t *testing.T, fn func(life string, fields []string)) {
	t.Helper()
	files, err := filepath.Glob(r.pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("got files %v, %v, want some", files, err)
	}
	for _, file := range files {
		data, err := readFrom(file, r.read[file])
		if err != nil {
			t.Fatal(err)
		}
		life := strings.TrimSuffix(filepath.Base(file), r.kind)
		for line := range bytes.Lines(data) {
			if !bytes.HasSuffix(line, []byte("\n")) {
				break
			}
			r.read[file] += int64(len(line))
			if fields := strings.Fields(string(line)); len(fields) > 0 {
				fn(life, fields)
			}
		}
	}
}

func readFrom(file string, offset int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}
