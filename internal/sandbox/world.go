package sandbox

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// SampleBuildID is the id of the first sample build; the others follow it.
const SampleBuildID = 1_000_001

// The sample builds of a World, in the order of their ids.
const (
	// SampleNVR is the build that `consumer sandbox` announces itself. It holds
	// version 1.0.0 of the sample operator, or Options.Archive.
	SampleNVR = "sample-operator-container-1.0.0-1"
	// UpdateNVR holds the versions 1.0.0 and 1.1.0, the first unchanged.
	UpdateNVR = "sample-operator-container-1.1.0-1"
	// RejectedNVR is as UpdateNVR, and the gate refuses it.
	RejectedNVR = "sample-operator-container-1.1.0-2"
	// WaitingNVR is as UpdateNVR, and the gate has no test result of it yet.
	WaitingNVR = "sample-operator-container-1.1.0-3"
	// BundleNVR is a bundle image's build: its archive has no package file, the
	// package and the channels are in the image's labels.
	BundleNVR = "sample-operator-bundle-container-1.1.0-1"
	// PlainNVR holds no operator manifests.
	PlainNVR = "sample-app-container-1.0.0-1"
)

// Options say what a World is to be like.
type Options struct {
	// Gate is what Greenwave decides about every build but RejectedNVR and
	// WaitingNVR; "": GatePassed.
	Gate Gate
	// Archive replaces the operator manifests of SampleNVR; nil: the sample's.
	Archive []byte
	// Organizations guard the registry; none: it is open to everybody.
	Organizations []Organization
	// Host is the interface to listen on; "": loopback.
	Host string
}

// World is the outside that a consumer works with: every stand-in, each on a
// free port of its own, with the sample builds in place.
type World struct {
	Koji      *Koji
	Greenwave *Greenwave
	Registry  *Registry

	KojiServer, GreenwaveServer, RegistryServer *Server
}

// Start brings a World up. Close ends it.
func Start(o Options) (*World, error) {
	if o.Gate == "" {
		o.Gate = GatePassed
	}
	if !slices.Contains(Gates(), o.Gate) {
		return nil, fmt.Errorf("sandbox: no gate %q", o.Gate)
	}
	w := &World{Koji: NewKoji(), Greenwave: NewGreenwave(o.Gate), Registry: NewRegistry(o.Organizations...)}
	if err := w.addSamples(o.Archive); err != nil {
		return nil, err
	}
	addr := net.JoinHostPort(o.Host, "0")
	var errs [3]error
	w.KojiServer, errs[0] = Serve(w.Koji, addr)
	w.GreenwaveServer, errs[1] = Serve(w.Greenwave, addr)
	w.RegistryServer, errs[2] = Serve(w.Registry, addr)
	if err := errors.Join(errs[:]...); err != nil {
		w.Close()
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	return w, nil
}

func (w *World) addSamples(archive []byte) error {
	if archive == nil {
		archive = mustZip(SampleFirstPackage())
	}
	update := SampleArchive()
	appRegistry := []string{"operator_appregistry"}
	first := time.Now().Add(-24 * time.Hour) // lately, so that whoever looks back finds them
	for i, b := range []Build{
		{NVR: SampleNVR, Archive: archive, Subtypes: appRegistry},
		{NVR: UpdateNVR, Archive: update, Subtypes: appRegistry},
		{NVR: RejectedNVR, Archive: update, Subtypes: appRegistry},
		{NVR: WaitingNVR, Archive: update, Subtypes: appRegistry},
		{
			NVR: BundleNVR, Archive: mustZip(SampleBundleContent()),
			Subtypes: []string{"operator_bundle"}, ImageLabels: SampleBundleLabels(),
		},
		{NVR: PlainNVR, Form: FormNone},
	} {
		b.ID, b.Completed = SampleBuildID+int64(i), first.Add(time.Duration(i)*time.Minute)
		if _, err := w.Koji.AddBuild(b); err != nil {
			return fmt.Errorf("sandbox: %w", err)
		}
	}
	w.Greenwave.Set(RejectedNVR, GateFailed)
	w.Greenwave.Set(WaitingNVR, GateMissing)
	return nil
}

// HubURL is the Koji hub's, for koji.hub_url.
func (w *World) HubURL() string { return w.KojiServer.URL() + hubPath }

// FilesURL is the Koji files server's, for koji.root_url; it ends in a slash.
func (w *World) FilesURL() string { return w.KojiServer.URL() + filesPath }

// GreenwaveURL is Greenwave's, for greenwave.url.
func (w *World) GreenwaveURL() string { return w.GreenwaveServer.URL() }

// RegistryHost is the registry's host:port, for quay.registry; it speaks plain HTTP.
func (w *World) RegistryHost() string { return w.RegistryServer.Host() }

// RegistryURL is the base of Quay's API, for quay.url.
func (w *World) RegistryURL() string { return w.RegistryServer.URL() }

// Close stops every stand-in.
func (w *World) Close() {
	for _, s := range []*Server{w.KojiServer, w.GreenwaveServer, w.RegistryServer} {
		if s != nil {
			s.Stop()
		}
	}
}
