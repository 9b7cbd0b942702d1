package topology_test

import (
	"os"
	"path/filepath"
	"testing"
)

// goodFiles are testdata's files without mistakes, by their names.
func goodFiles(t testing.TB) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("got %d good files (%v), want some", len(paths), err)
	}
	files := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = string(text)
	}
	return files
}
