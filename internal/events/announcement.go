package events

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// announcement is what the data of a build event says of a build. Peek and
// Trigger read it with the same code, so that they cannot disagree.
type announcement struct {
	NVR     pipeline.NVR
	BuildID int64

	Claim     pipeline.Claim
	Attribute string // what changed; "" and "state" are a change of state
}

// readAnnouncement reads the three forms in which builds are announced:
//
//   - flat: {nvr, build_id, name, version, release, state, draft, extra}, and
//     the body of fedora-messaging's buildsys.build.state.change, which has
//     the new state in "new";
//   - the body of the hub's protonmsg plugin, {attribute, old, new, info};
//   - where promoted, that plugin's body for a promotion, {build, …}.
//
// Each may lie under "body" or "msg", as bridges that pass on a whole message
// have it. An object that names a build itself, by nvr, by build_id or by all of
// name, version and release, is flat whatever else it holds.
// A null member is an absent one, save for extra.
//
// The error says what contradicts itself; what has the wrong JSON type is left
// to the schema and reads as absent. An announcement that names no build is no
// error.
func readAnnouncement(data *record, promoted bool) (announcement, error) {
	outer, build, path := data.locate(promoted)
	a := announcement{Claim: pipeline.Claim{State: pipeline.StateUnknown}}
	a.Attribute = outer.attribute.text()
	var err error
	if a.NVR, err = build.readNVR(); err == nil {
		a.BuildID, err = build.readID(build != outer)
	}
	if err != nil && path != "" {
		err = fmt.Errorf("at %s: %w", path, err)
	}
	if err != nil {
		return a, err
	}
	a.Claim.Package = a.NVR.Name
	a.Claim.Draft = build.draft == "true" || strings.Contains(a.NVR.Release, draftMark)
	a.Claim.State = agree(readState(outer.next), readState(build.state))
	a.Claim.NoManifests = build.noManifests
	return a, nil
}

// draftMark is in the release of every draft build: koji/__init__.py, DRAFT_RELEASE_FORMAT.
const draftMark = ",draft_"

// complete tells whether a build is said to be COMPLETE and no draft.
func (a announcement) complete() bool {
	return a.Claim.State == pipeline.StateComplete && !a.Claim.Draft
}

// names tells whether a build is named.
func (a announcement) names() bool { return !a.NVR.IsZero() || a.BuildID != 0 }

// readNVR is the NVR as such or put together of its parts; zero when neither
// is whole.
func (r *record) readNVR() (pipeline.NVR, error) {
	parts := pipeline.NVR{Name: r.name.text(), Version: r.version.text(), Release: r.release.text()}
	whole := r.nvr.text()
	if whole == "" {
		if parts.Name == "" || parts.Version == "" || parts.Release == "" {
			return pipeline.NVR{}, nil
		}
		if nvr, err := pipeline.ParseNVR(parts.String()); err != nil || nvr == parts {
			return nvr, err
		}
		return pipeline.NVR{}, fmt.Errorf("version or release of %q holds a dash", parts)
	}
	nvr, err := pipeline.ParseNVR(whole)
	if err != nil {
		return pipeline.NVR{}, err
	}
	for _, part := range [...]struct{ what, said, is string }{
		{"name", parts.Name, nvr.Name}, {"version", parts.Version, nvr.Version}, {"release", parts.Release, nvr.Release},
	} {
		if part.said != "" && part.said != part.is {
			return pipeline.NVR{}, fmt.Errorf("nvr %q contradicts %s %q", nvr, part.what, cut(part.said, 100))
		}
	}
	return nvr, nil
}

// readID is the build's id, 0 where there is none. A record of the hub has it
// as "id" too; elsewhere that word is no build's.
func (r *record) readID(hub bool) (int64, error) {
	id, err := number(r.buildID)
	if err != nil {
		return 0, fmt.Errorf("build_id %w", err)
	}
	if !hub {
		return id, nil
	}
	other, err := number(r.id)
	switch {
	case err != nil:
		return 0, fmt.Errorf("id %w", err)
	case id != 0 && other != 0 && id != other:
		return 0, fmt.Errorf("build_id %d contradicts id %d", id, other)
	case id == 0:
		return other, nil
	}
	return id, nil
}

// maxID is the largest integer that every JSON library reads exactly.
const maxID = 1<<53 - 1

// number is a positive integer, 0 where none is given. Koji writes ids as
// numbers; one in quotes is left to the schema, which refuses it.
func number(value raw) (int64, error) {
	if !value.isNumber() {
		return 0, nil
	}
	n := value.number()
	if n != math.Trunc(n) || n < 1 || n > maxID {
		return 0, errors.New("is not a positive integer below 2^53")
	}
	return int64(n), nil
}

// readState takes Koji's number of a state or its name.
func readState(value raw) pipeline.BuildState {
	if value.isNumber() {
		if n := value.number(); n == math.Trunc(n) && n >= 0 && n <= math.MaxInt32 {
			return pipeline.BuildState(n)
		}
		return pipeline.StateUnknown
	}
	name := value.text()
	for state := pipeline.StateBuilding; state <= pipeline.StateCanceled; state++ {
		if strings.EqualFold(name, state.String()) {
			return state
		}
	}
	return pipeline.StateUnknown
}

// agree is what two places say of the state. Where they differ only the hub
// can tell.
func agree(a, b pipeline.BuildState) pipeline.BuildState {
	switch {
	case a == b || b == pipeline.StateUnknown:
		return a
	case a == pipeline.StateUnknown:
		return b
	}
	return pipeline.StateUnknown
}
