package app

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Version is this release's, for builds that know of no other.
const Version = "0.1.0-dev"

// moduleVersion is the version the module was built as, where the build knows it.
func moduleVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return Version
}

func versionCommand(o Options, s Streams) *cobra.Command {
	var format output
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  arguments,
		RunE: func(*cobra.Command, []string) error {
			if format != outputTable {
				return json.NewEncoder(s.Out).Encode(map[string]string{"name": o.Name, "version": o.Version, "go": runtime.Version()})
			}
			_, err := fmt.Fprintf(s.Out, "%s %s (%s)\n", o.Name, o.Version, runtime.Version())
			return err
		},
	}
	format.register(cmd.Flags())
	return cmd
}
