package app

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/pflag"
)

// output is the -o flag.
type output string

const (
	outputTable output = "table"
	outputJSON  output = "json"
	outputLines output = "jsonl"
)

func (o *output) register(fs *pflag.FlagSet) {
	*o = outputTable
	fs.VarP(o, "output", "o", `"table" for people, "json" or "jsonl" (one value a line) for programs`)
}

// String, Set and Type make output a flag.
func (o *output) String() string { return string(*o) }

// Set refuses what is no format.
func (o *output) Set(s string) error {
	switch output(s) {
	case outputTable, outputJSON, outputLines:
		*o = output(s)
		return nil
	}
	return fmt.Errorf("want %s, %s or %s", outputTable, outputJSON, outputLines)
}

// Type is the flag's word in the help.
func (o *output) Type() string { return "format" }

// printOne writes one value: as JSON on one line, or as a table does.
func printOne(w io.Writer, o output, v any, table func(io.Writer) error) error {
	if o == outputTable {
		return table(w)
	}
	return json.NewEncoder(w).Encode(v)
}

// printAll writes values: as a JSON array, as JSON lines, or as a table does.
func printAll[T any](w io.Writer, o output, all []T, table func(io.Writer) error) error {
	switch o {
	case outputTable:
		return table(w)
	case outputJSON:
		if all == nil {
			all = []T{}
		}
		return json.NewEncoder(w).Encode(all)
	default:
		lines := json.NewEncoder(w)
		for _, v := range all {
			if err := lines.Encode(v); err != nil {
				return err
			}
		}
		return nil
	}
}
