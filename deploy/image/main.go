// Command image puts built programs, one for each platform, into an OCI image
// without a container engine:
//
//	image [-license FILE] [-layout DIR] [-push REFERENCE] PROGRAM...
//	image -root DIR [-license FILE] PROGRAM
//
// The image has the program, certificate authorities, a user that is not root
// and nothing else. Everything that is said in it comes from the programs and
// from this source, nothing from the machine or the clock: the same programs
// give the same digest. With -root the files of the image are written to a
// folder instead, for the Containerfile beside it.
//
// It ends with 0 when all is written, with 1 when something failed and with 2
// when it was called in a wrong way.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// pushTimeout bounds a push with all its requests.
const pushTimeout = 10 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are the flags of the command.
type options struct {
	license string   // file with the license; "": none
	layout  string   // OCI layout folder to write; "": none
	push    name.Tag // where to push to; zero: nowhere
	root    string   // folder for the files; "": an image is made

	programs []string
}

// run runs the command to its end and returns the process's exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		fmt.Fprintln(stderr, "image:", err)
		return exitUsage
	}
	if err := o.make(ctx, stdout); err != nil {
		fmt.Fprintln(stderr, "image:", err)
		return exitFailed
	}
	return exitDone
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run tells errors
	flags.StringVar(&o.license, "license", "", "`FILE` with the license, which whoever gets the image has to get too")
	flags.StringVar(&o.layout, "layout", "", "write the image into this OCI layout `DIR`, in place of the one there")
	flags.Func("push", "push the image to this `REFERENCE`, registry and tag included, logged in as docker or podman are", func(reference string) (err error) {
		o.push, err = name.NewTag(reference, name.StrictValidation)
		return err
	})
	flags.StringVar(&o.root, "root", "", "write the image's files into this new `DIR`, and make no image")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(stderr)
			flags.PrintDefaults()
		}
		return options{}, err
	}
	o.programs = flags.Args()
	switch {
	case len(o.programs) == 0:
		return options{}, errors.New("which program?")
	case o.root != "" && (o.layout != "" || o.push != (name.Tag{})):
		return options{}, errors.New("-root makes no image to write or push")
	case o.root != "" && len(o.programs) > 1:
		return options{}, errors.New("-root takes one program")
	}
	return o, nil
}

func (o options) make(ctx context.Context, stdout io.Writer) error {
	programs, err := readPrograms(o.programs)
	if err != nil {
		return err
	}
	var license []byte
	if o.license != "" {
		if license, err = os.ReadFile(o.license); err != nil {
			return fmt.Errorf("license: %w", err)
		}
	}
	if o.root != "" {
		return writeTree(o.root, append(baseEntries(license), programEntry(programs[0])))
	}
	if o.layout != "" {
		if err := isReplaceable(o.layout); err != nil {
			return err
		}
	}
	index, err := newIndex(programs, license)
	if err != nil {
		return err
	}
	if o.layout != "" {
		if err := writeLayout(o.layout, index, programs[0].tag()); err != nil {
			return err
		}
	}
	if o.push != (name.Tag{}) {
		ctx, cancel := context.WithTimeout(ctx, pushTimeout)
		defer cancel()
		if err := push(ctx, o.push, index); err != nil {
			return err
		}
	}
	return describe(stdout, index, programs[0])
}

// describe prints the digests of the whole image and of each platform's, with
// the bytes that are pulled for it.
func describe(w io.Writer, index v1.ImageIndex, p program) error {
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%s:%s\t%s\n", imageName, p.tag(), digest)
	for _, d := range manifest.Manifests {
		image, err := index.Image(d.Digest)
		if err != nil {
			return err
		}
		bytes, err := pulled(image)
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\t%s\t%d bytes\n", d.Platform, d.Digest, bytes)
	}
	return table.Flush()
}

// pulled is how many bytes the layers have as they are sent.
func pulled(image v1.Image) (int64, error) {
	layers, err := image.Layers()
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, l := range layers {
		size, err := l.Size()
		if err != nil {
			return 0, err
		}
		sum += size
	}
	return sum, nil
}
