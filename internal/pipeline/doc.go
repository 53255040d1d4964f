// Package pipeline takes a completed Koji build to its registries.
//
// A Trigger is what an event claims. Five stages make it into results, each
// with a type of its own, so that fetching before gating does not compile:
//
//	Trigger ─Lookup─> Build ─Gate─> Approved ─Fetch─> Manifests
//	for each organization:  Order ─Prepare─> Release ─Push─> Publication
//
// Pipeline.Run calls them one after the other and returns a Result for each
// organization. The package does no I/O of its own: the hub, the gate, the
// files and the registries are interfaces of one or two methods, declared by
// the stage that calls them, and the caller brings the clock.
//
// Every error has a Class, which says what to do about it, and a Reason, a word
// of a closed set. Both are found by behaviour, so any package can take part
// and wrapping is safe; an error without a class is tried again.
package pipeline
