package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// listedLetters is how many dead letters ls shows unless told otherwise.
const listedLetters = 50

func (c *cli) deadLettersCommand() *cobra.Command {
	var flags busFlags
	cmd := &cobra.Command{
		Use:   "deadletters",
		Short: "List, show, send again or delete messages that could not be served",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_ = cmd.Help()
			return usagef("no action given")
		},
	}
	flags.add(cmd)
	cmd.AddCommand(c.lettersListCommand(&flags), c.lettersShowCommand(&flags), c.lettersRedriveCommand(&flags), c.lettersDropCommand(&flags))
	return cmd
}

// letterFilter are the flags that choose among dead letters.
type letterFilter struct{ events.LetterQuery }

func (f *letterFilter) add(cmd *cobra.Command, limit int) {
	cmd.Flags().StringVar(&f.Reason, "reason", "", "only those of this reason, such as invalid-event")
	cmd.Flags().StringVar(&f.NVR, "nvr", "", "only those whose event names a build like this; * and ? stand for anything")
	cmd.Flags().StringVar(&f.Text, "text", "", "only those with this text in payload, error or subject")
	cmd.Flags().IntVar(&f.Limit, "limit", limit, "at most so many; 0: all")
}

func (f *letterFilter) check() error {
	if _, err := path.Match(f.NVR, ""); err != nil {
		return usagef("--nvr %q is no pattern: %w", f.NVR, err)
	}
	if f.Limit < 0 {
		return usagef("--limit is below 0")
	}
	if f.Reason != "" && !slices.Contains(pipeline.Reasons(), pipeline.Reason(f.Reason)) {
		return usagef("--reason: there is no reason %q", f.Reason)
	}
	return nil
}

// withLetters connects for what do does.
func (c *cli) withLetters(ctx context.Context, flags *busFlags, do func(*events.DeadLetters) error) error {
	b, err := c.connectBus(ctx, *flags)
	if err != nil {
		return err
	}
	defer b.close()
	return explained(do(events.NewDeadLetters(b.js, b.names)))
}

func (c *cli) lettersListCommand(flags *busFlags) *cobra.Command {
	var filter letterFilter
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List dead letters, the newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := filter.check(); err != nil {
				return err
			}
			return c.withLetters(cmd.Context(), flags, func(letters *events.DeadLetters) error {
				return c.listLetters(cmd.Context(), letters, filter.LetterQuery, asJSON)
			})
		},
	}
	filter.add(cmd, listedLetters)
	cmd.Flags().BoolVar(&filter.Oldest, "oldest", false, "the oldest first")
	cmd.Flags().Uint64Var(&filter.From, "from", 0, "begin with this sequence")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

// listLetters asks for one more than it prints, to say where the rest begins.
func (c *cli) listLetters(ctx context.Context, letters *events.DeadLetters, q events.LetterQuery, asJSON bool) error {
	limit, rest := q.Limit, uint64(0)
	if limit > 0 {
		q.Limit++
	}
	table := newLetterTable(c.stdout)
	count := 0
	err := letters.List(ctx, q, func(letter events.DeadLetter) error {
		if count++; limit > 0 && count > limit {
			rest = letter.Sequence
			return nil
		}
		if asJSON {
			return writeJSON(c.stdout, letterData(letter))
		}
		return table.add(letter)
	})
	if err != nil {
		return err
	}
	if err := table.flush(); err != nil {
		return err
	}
	if count == 0 && !asJSON {
		fmt.Fprintln(c.stderr, "no dead letters")
	}
	if rest > 0 {
		fmt.Fprintf(c.stderr, "there are more: --from %d\n", rest)
	}
	return nil
}

func (c *cli) lettersShowCommand(flags *busFlags) *cobra.Command {
	var asJSON, raw bool
	cmd := &cobra.Command{
		Use:   "show SEQUENCE",
		Short: "Show one dead letter, headers and payload included",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sequences, err := sequencesOf(args)
			if err != nil {
				return err
			}
			return c.withLetters(cmd.Context(), flags, func(letters *events.DeadLetters) error {
				letter, err := letters.Get(cmd.Context(), sequences[0])
				switch {
				case err != nil:
					return err
				case raw:
					_, err := c.stdout.Write(letter.Data)
					return err
				case asJSON:
					return writeJSON(c.stdout, wholeLetterData(letter))
				}
				return printLetter(c.stdout, letter)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	cmd.Flags().BoolVar(&raw, "raw", false, "the bytes of the payload and nothing else")
	cmd.MarkFlagsMutuallyExclusive("json", "raw")
	return cmd
}

func (c *cli) lettersRedriveCommand(flags *busFlags) *cobra.Command {
	var choice letterChoice
	cmd := &cobra.Command{
		Use:   "redrive {SEQUENCE… | --all}",
		Short: "Send dead letters again to where they came from, and delete them",
		Long: `redrive publishes the original message, bytes and headers unchanged, to the
subject it came from, waits until it is stored there, and then deletes the dead
letter. The event keeps its id. It goes on when one cannot be sent.`,
		Example: `  consumer deadletters redrive 17 -c config.yaml
  consumer deadletters redrive --all --reason koji-unavailable -c config.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.onLetters(cmd.Context(), flags, choice, args, "redriven", c.redriveLetter)
		},
	}
	choice.add(cmd)
	return cmd
}

func (c *cli) lettersDropCommand(flags *busFlags) *cobra.Command {
	var choice letterChoice
	var yes bool
	cmd := &cobra.Command{
		Use:   "drop {SEQUENCE… | --all --yes}",
		Short: "Delete dead letters for good",
		RunE: func(cmd *cobra.Command, args []string) error {
			if choice.all && !yes {
				return usagef("--all deletes every dead letter that matches: say --yes too")
			}
			return c.onLetters(cmd.Context(), flags, choice, args, "dropped", c.dropLetter)
		},
	}
	choice.add(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "with --all: really")
	return cmd
}

// letterChoice is either a list of sequences or all that match.
type letterChoice struct {
	all    bool
	filter letterFilter
}

func (o *letterChoice) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.all, "all", false, "all dead letters that match, the oldest first")
	o.filter.add(cmd, 0)
}

// check wants one way of choosing. Filters without --all would be ignored.
func (o *letterChoice) check(args []string) error {
	filtered := o.filter.LetterQuery != events.LetterQuery{}
	switch {
	case o.all && len(args) > 0:
		return usagef("both --all and sequences given")
	case !o.all && len(args) == 0:
		return usagef("no sequence given, and not --all")
	case !o.all && filtered:
		return usagef("filters go with --all, not with sequences")
	}
	return o.filter.check()
}

// onLetters does one thing to each chosen letter, and goes on after a failure.
// done is its word for the sum.
func (c *cli) onLetters(ctx context.Context, flags *busFlags, o letterChoice, args []string, done string,
	do func(context.Context, *events.DeadLetters, uint64) error,
) error {
	if err := o.check(args); err != nil {
		return err
	}
	sequences, err := sequencesOf(args)
	if err != nil {
		return err
	}
	return c.withLetters(ctx, flags, func(letters *events.DeadLetters) error {
		if o.all {
			// All at first: what fails again comes back as a new letter.
			q := o.filter.LetterQuery
			q.Oldest = true
			err := letters.List(ctx, q, func(letter events.DeadLetter) error {
				sequences = append(sequences, letter.Sequence)
				return nil
			})
			if err != nil {
				return err
			}
		}
		failed := 0
		for _, sequence := range sequences {
			if ctx.Err() != nil {
				return fmt.Errorf("interrupted before dead letter %d", sequence)
			}
			if err := do(ctx, letters, sequence); err != nil {
				failed++
				fmt.Fprintln(c.stderr, plain(err.Error()))
			}
		}
		fmt.Fprintf(c.stdout, "%d of %d dead letters %s\n", len(sequences)-failed, len(sequences), done)
		if failed > 0 {
			return fmt.Errorf("%d of %d dead letters not %s", failed, len(sequences), done)
		}
		return nil
	})
}

func (c *cli) redriveLetter(ctx context.Context, letters *events.DeadLetters, sequence uint64) error {
	sent, err := letters.Redrive(ctx, sequence)
	if errors.Is(err, events.ErrLetterKept) {
		return fmt.Errorf("%w; drop it, since a later redrive may send it again", err)
	}
	if err != nil {
		return err
	}
	before := ""
	if sent.Repeated {
		before = ", where an earlier redrive had put it"
	}
	_, err = fmt.Fprintf(c.stdout, "%d sent to %s: stream %s, sequence %d%s\n",
		sequence, cell(sent.Letter.Subject, maxSubjectCell), sent.Stream, sent.Sequence, before)
	return err
}

func (c *cli) dropLetter(ctx context.Context, letters *events.DeadLetters, sequence uint64) error {
	letter, err := letters.Drop(ctx, sequence)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "%d dropped: %s on %s, %s, %d bytes\n", sequence, cell(letter.Reason, maxReasonCell),
		cell(letter.Subject, maxSubjectCell), cell(buildOf(letter), maxNVRCell), letter.Bytes)
	return err
}

func sequencesOf(args []string) ([]uint64, error) {
	sequences := make([]uint64, len(args))
	for i, arg := range args {
		n, err := strconv.ParseUint(arg, 10, 64)
		if err != nil || n == 0 {
			return nil, usagef("%q is no sequence: that is a number, as ls shows it", arg)
		}
		sequences[i] = n
	}
	return sequences, nil
}
