package app

import (
	"fmt"

	"github.com/spf13/pflag"
)

// output is the -o flag.
type output string

const (
	outputTable output = "table"
	outputJSON  output = "json"
)

func (o *output) register(fs *pflag.FlagSet) {
	*o = outputTable
	fs.VarP(o, "output", "o", `"table" for people or "json" for programs`)
}

// String, Set and Type make output a flag.
func (o *output) String() string { return string(*o) }

// Set refuses what is no format.
func (o *output) Set(s string) error {
	switch output(s) {
	case outputTable, outputJSON:
		*o = output(s)
		return nil
	}
	return fmt.Errorf("want %s or %s", outputTable, outputJSON)
}

// Type is the flag's word in the help.
func (o *output) Type() string { return "format" }
