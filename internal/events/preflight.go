package events

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Report is what a Preflight found that does not keep the service from running.
// Each text names an object, how it is, and how it should be.
type Report struct {
	Warnings []string // what can lose or hold up work
	Notes    []string // what cannot be known from here
}

// PreflightOptions say what a Preflight looks at.
type PreflightOptions struct {
	Provision ProvisionOptions
	// Look makes nothing: with Provision.Manage what is missing is no fault as
	// long as it may be made.
	Look bool
	// Announce says that an Announcer will be used as well.
	Announce bool
	// Archives says that it takes archives by hand, out of object stores that
	// nobody knows before they are named.
	Archives bool
	// Embedded says that the server is a Server, which is safe as it is.
	Embedded bool
}

// PreflightError is everything that keeps the service from running on a server,
// and what is unsafe there besides.
type PreflightError struct {
	Faults   Faults
	Warnings []string
}

// Error has one line for each fault and warning.
func (e *PreflightError) Error() string {
	lines := []string{"preflight: the nats server is not as the service needs it"}
	for _, fault := range e.Faults {
		lines = append(lines, "  "+fault.Error())
	}
	for _, warning := range e.Warnings {
		lines = append(lines, "  warning: "+warning)
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.Is and errors.As each fault.
func (e *PreflightError) Unwrap() []error { return e.Faults }

// Preflight is a Provision that also tries each permission the service needs
// and looks at how safe the server is, in one go. All that keeps the service
// from running comes back as one *PreflightError; any other error means that
// the server did not answer. Nothing is asked for without permission, and waited
// for in vain.
//
// It changes nothing that is there, and nobody sees it. The connection's errors
// about permissions come to no other handler meanwhile.
func Preflight(ctx context.Context, nc *nats.Conn, o PreflightOptions) (Report, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return Report{}, fmt.Errorf("preflight: %w", err)
	}
	s := survey{js: js, o: o.Provision, look: o.Look}
	if !o.Embedded { // which asks nobody for permission
		s.rights = tryRights(nc)
		defer s.rights.close()
		s.clustered = nc.ConnectedClusterName() != ""
	}
	err = s.preflight(ctx, nc, o.rights(), o.Embedded)
	if o.Archives && !o.Embedded {
		s.report.Notes = append(s.report.Notes, archivesNote)
	}
	if err != nil && len(s.faults) == 0 {
		return s.report, fmt.Errorf("preflight: %w", err)
	}
	if err != nil {
		s.faults = append(s.faults, err) // most likely for want of a permission
	}
	if len(s.faults) > 0 {
		return s.report, &PreflightError{Faults: s.faults, Warnings: s.report.Warnings}
	}
	return s.report, nil
}

// archivesNote is about permissions that cannot be tried.
const archivesNote = "archives by hand lie in object stores, and which ones a request will tell: make sure that this user may publish to " +
	"$JS.API.STREAM.INFO.OBJ_BUCKET, $JS.API.DIRECT.GET.OBJ_BUCKET and $JS.API.DIRECT.GET.OBJ_BUCKET.> for each BUCKET"

// rights are those that the service needs whatever is on the server.
func (o PreflightOptions) rights() []right {
	names := o.Provision.Names
	all := names.rights()
	if o.Announce {
		all = append(all, names.announceRight())
	}
	return all
}

func (s *survey) preflight(ctx context.Context, nc *nats.Conn, wanted []right, embedded bool) error {
	if !embedded {
		s.warn("server", versionRisks(nc.ConnectedServerVersion()))
	}
	inbox := nc.NewInbox()
	private := inbox[:strings.LastIndexByte(inbox, '.')] + ".>"
	deaf, err := s.ask(ctx, []right{
		{subject: inbox, grant: private, listen: true, purpose: "to hear answers"},
		{subject: inbox + "." + probed, grant: private, listen: true, purpose: "to hear answers"},
	})
	if err != nil {
		return err
	}
	if _, err := s.ask(ctx, wanted); err != nil {
		return err
	}
	if deaf {
		for _, b := range s.o.Names.buckets() {
			if _, err := s.ask(ctx, b.readRights(s.o.Names, true)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.run(ctx); err != nil || embedded {
		return err
	}
	return s.servers(ctx, nc)
}

// ask tries rights out, reports those that are missing, and tells whether there
// are some without which it does not go on.
func (s *survey) ask(ctx context.Context, rights []right) (denied bool, err error) {
	missing, err := s.rights.try(ctx, rights)
	if err != nil {
		return false, err
	}
	told := map[string]bool{}
	for _, r := range missing {
		text := r.String()
		switch {
		case told[text]:
		case r.minor:
			s.report.Warnings = append(s.report.Warnings, text)
		default:
			s.faults = append(s.faults, errors.New(text))
		}
		told[text], denied = true, denied || !r.minor
	}
	return denied, nil
}
