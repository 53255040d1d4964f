package main

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// ompsSectionVariable named the class of its configuration to OMPS.
const ompsSectionVariable = "OMPS_CONF_SECTION"

// maxOMPSBytes bounds OMPS's configuration file.
const maxOMPSBytes = 1 << 20

func (c *cli) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Make a configuration",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_ = cmd.Help()
			return usagef("nothing to make a configuration of is given")
		},
	}
	cmd.AddCommand(c.configFromOMPSCommand())
	return cmd
}

func (c *cli) configFromOMPSCommand() *cobra.Command {
	o := OMPSOptions{Section: cmp.Or(c.getenv(ompsSectionVariable), "ProdConfig"), Target: pipeline.TargetOCI}
	target := string(o.Target)
	cmd := &cobra.Command{
		Use:   "from-omps FILE",
		Short: "Print the configuration that does what one of OMPS did",
		Long: `from-omps reads the configuration of OMPS, a Python file with a class whose
attributes are literals, and prints one of this program. Nothing in the file is
executed. Comments say which secrets to write into which files, and warnings
name the line of everything that has to be known. What cannot be taken over,
because it is computed or would not work here, is there to be set by hand, and
the exit code is then 1.`,
		Example: "  consumer config from-omps /etc/omps/config.py > config.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var err error
			if o.Target, err = targetOf(target); err != nil {
				return err
			}
			return c.configFromOMPS(args[0], o)
		},
	}
	cmd.Flags().StringVar(&o.Section, "section", o.Section, "class of the file (default: "+ompsSectionVariable+" in the environment, or ProdConfig)")
	cmd.Flags().StringVar(&target, "target", target, "target of every organization, oci or app-registry")
	return cmd
}

func (c *cli) configFromOMPS(path string, o OMPSOptions) error {
	data, err := readCapped(path, maxOMPSBytes)
	if err != nil {
		return fmt.Errorf("%s: cannot be read: %w", path, err)
	}
	o.Name = filepath.Base(path)
	made, err := ConvertOMPS(data, o)
	if wrong := new(pySyntaxError); errors.As(err, &wrong) {
		return fmt.Errorf("%s:%d: %s", path, wrong.line, wrong.text)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if _, err := c.stdout.Write(made.YAML); err != nil {
		return err
	}
	left := 0
	for _, r := range made.Remarks {
		if r.ByHand {
			left++
		}
		fmt.Fprintf(c.stderr, "warning: %s:%d: %s\n", path, r.Line, r.Text)
	}
	if left > 0 {
		return fmt.Errorf("%s: %d to be set by hand", path, left)
	}
	return nil
}

// targetOf reads the flag --target.
func targetOf(text string) (pipeline.TargetKind, error) {
	switch target := pipeline.TargetKind(text); target {
	case pipeline.TargetOCI, pipeline.TargetAppRegistry:
		return target, nil
	}
	return "", usagef("--target is %s or %s, not %q", pipeline.TargetOCI, pipeline.TargetAppRegistry, text)
}
