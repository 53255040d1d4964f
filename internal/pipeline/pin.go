package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Bounds on pinning.
const (
	maxPinned   = 1000 // references of one operator
	parallelPin = 4    // requests at once
)

// pin gives every image reference that has none the digest of what it names, as
// its registry says, and each ClusterServiceVersion the relatedImages that
// mirroring needs. An error is for the whole build: images cannot be asked for.
func (d *draft) pin(ctx context.Context, images ImageResolver, rejectUnreachable bool) ([]Change, error) {
	found, fault := imagesOf(d.op.manifests)
	if fault != nil {
		d.faults = append(d.faults, *fault)
		return nil, nil
	}
	refs := unpinned(found)
	if len(refs) > maxPinned {
		d.faults = append(d.faults, Fault{Text: fmt.Sprintf("pin_digests: %d images without a digest, more than %d", len(refs), maxPinned)})
		return nil, nil
	}
	digests, err := resolve(ctx, images, refs, rejectUnreachable)
	if err != nil {
		return nil, err
	}
	var pinned []Change
	for i, images := range found {
		m := d.op.manifests[i]
		d.editImages(m, images, func(path, ref string, at textRange) string {
			digest, ok := digests[ref]
			if !ok || at.loose {
				return ref
			}
			after := repositoryIn(ref) + "@" + digest
			pinned = addChange(pinned, Change{File: m.path, Path: path, Before: ref, After: after})
			return after
		})
	}
	for _, m := range d.op.ofKind(kindCSV) {
		d.relateImages(m)
	}
	return pinned, nil
}

// unpinned lists the references without a digest, each once, in order.
func unpinned(found [][]imageScalar) []string {
	refs := make(map[string]bool)
	for _, images := range found {
		addUnpinned(refs, images)
	}
	return slices.Sorted(maps.Keys(refs))
}

func addUnpinned(refs map[string]bool, images []imageScalar) {
	for _, s := range images {
		for _, at := range s.refs {
			if ref := at.of(s.node.Value); s.sure && !at.loose && !isPinned(ref) {
				refs[ref] = true
			}
		}
	}
}

// Unpinned lists the image references of a release that pinning would ask for
// the digests of, each once, in order.
func (r Release) Unpinned() []string {
	files := make([]File, 0)
	for _, b := range r.Bundles {
		files = append(files, b.Files...)
	}
	if r.Application != nil {
		files = append(files, r.Application.Files...)
	}
	refs := make(map[string]bool)
	for _, f := range files {
		if doc, err := parseYAML(f); err == nil {
			addUnpinned(refs, imagesIn(doc.root, maxImages))
		}
	}
	return slices.Sorted(maps.Keys(refs))
}

// resolve asks for the digest of each reference. What is missing is told of all
// at once; any other error ends the asking.
func resolve(ctx context.Context, images ImageResolver, refs []string, rejectUnreachable bool) (map[string]string, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	var mu sync.Mutex
	digests, missing := make(map[string]string, len(refs)), []string(nil)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelPin)
	for _, ref := range refs {
		g.Go(func() (err error) {
			defer func() { // nobody else can: it is another goroutine
				if p := recover(); p != nil {
					err = fmt.Errorf("asking for %.200s: panic: %v", ref, p)
				}
			}()
			digest, err := images.ResolveImage(ctx, ref)
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, ErrNoImage) {
				missing = append(missing, err.Error())
				return nil
			}
			digests[ref] = digest
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if len(missing) == 0 {
		return digests, nil
	}
	slices.Sort(missing)
	err := fmt.Errorf("cannot pin %d images: %s", len(missing), some(missing))
	if rejectUnreachable {
		return nil, Reject(ReasonImageUnavailable, err)
	}
	return nil, Wait(ReasonImageUnavailable, err)
}
