package command_test

import (
	"errors"
	"flag"
	"strings"
	"testing"

	"github.com/caudal-project/caudal/examples/go/internal/command"
)

func TestTheFileStandsAnywhereAmongTheFlags(t *testing.T) {
	for _, each := range []struct {
		line  string
		steps int
		err   string
	}{
		{"a.caudal --steps 3", 3, ""},
		{"--steps 3 a.caudal", 3, ""},
		{"-steps=3 a.caudal --quick", 3, ""},
		{"a.caudal", 20, ""},
		{"", 20, "give one file, not 0; see --help"},
		{"a.caudal b.caudal", 20, "give one file, not 2; see --help"},
		{"a.caudal --step 3", 20, "flag provided but not defined: -step; see --help"},
		{"a.caudal --steps x", 20, `invalid value "x" for flag -steps: parse error; see --help`},
	} {
		flags := flag.NewFlagSet("test", flag.ContinueOnError)
		steps := flags.Int("steps", 20, "")
		flags.Bool("quick", false, "")
		file, err := command.File(flags, "", strings.Fields(each.line))
		if each.err != "" {
			var usage *command.UsageError
			if !errors.As(err, &usage) || err.Error() != each.err {
				t.Errorf("%q gives %v, expected %q", each.line, err, each.err)
			}
			continue
		}
		if err != nil || file != "a.caudal" || *steps != each.steps {
			t.Errorf("%q gives %q, %d steps, %v", each.line, file, *steps, err)
		}
	}
}
