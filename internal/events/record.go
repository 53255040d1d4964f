package events

// record is a JSON object of an announcement, with those of its members that
// matter somewhere.
type record struct {
	nvr, name, version, release, buildID, id raw
	state, next, attribute, draft            raw
	info, build, body, msg                   *record // nil: no object
	noManifests                              bool    // see readExtra
}

// deepest is how far down objects are read as records: data, what a bridge
// wraps, and the build in it.
const deepest = 2

// recordOf reads an object.
func recordOf(object raw) *record {
	r, _ := wholeRecord(object)
	return r
}

// wholeRecord also tells whether the object is all there, and nothing behind it.
func wholeRecord(object raw) (r *record, whole bool) {
	r = new(record)
	end, closed := r.scan(object, 0, 0)
	return r, closed && end == len(object)
}

// scan reads the object that begins at s[i], as eachMember does.
func (r *record) scan(s raw, i, depth int) (end int, closed bool) {
	return eachMember(s, i, func(name string, i int) (end int) {
		if child := r.child(name); child != nil && depth < deepest {
			*child = nil
			if i < len(s) && s[i] == '{' {
				*child = new(record)
				end, _ = (*child).scan(s, i, depth+1)
				return end
			}
		}
		if name == "extra" {
			return r.readExtra(s, i)
		}
		end = valueEnd(s, i)
		if field := r.field(name); field != nil {
			*field = s[i:end]
		}
		return end
	})
}

func (r *record) child(name string) **record {
	switch name {
	case "info":
		return &r.info
	case "build":
		return &r.build
	case "body":
		return &r.body
	case "msg":
		return &r.msg
	}
	return nil
}

func (r *record) field(name string) *raw {
	switch name {
	case "nvr":
		return &r.nvr
	case "name":
		return &r.name
	case "version":
		return &r.version
	case "release":
		return &r.release
	case "build_id":
		return &r.buildID
	case "id":
		return &r.id
	case "state":
		return &r.state
	case "new":
		return &r.next
	case "attribute":
		return &r.attribute
	case "draft":
		return &r.draft
	}
	return nil
}

// readExtra looks whether the build's extra is there and shows that it holds no
// operator manifests, and returns the index behind it. The hub drops an extra that
// is too large, so an absent one shows nothing.
func (r *record) readExtra(s raw, i int) (end int) {
	if i == len(s) || s[i] != '{' {
		end = valueEnd(s, i)
		r.noManifests = s[i:end] == "null"
		return end
	}
	var archive, typeInfo raw
	end, _ = eachMember(s, i, func(name string, i int) int {
		end := valueEnd(s, i)
		switch name {
		case "operator_manifests_archive":
			archive = s[i:end]
		case "typeinfo":
			typeInfo = s[i:end]
		}
		return end
	})
	r.noManifests = !archive.given() && !typeInfo.member("operator-manifests").member("archive").given()
	return end
}

// names tells whether the object names a build itself.
func (r *record) names() bool {
	return r.nvr.filled() || r.buildID.filled() || r.name.filled() && r.version.filled() && r.release.filled()
}

// inner is the object in which the hub's plugin describes the build, with its
// JSON pointer; nil where there is none.
func (r *record) inner(promoted bool) (*record, string) {
	switch {
	case r.info != nil:
		return r.info, "/info"
	case promoted && r.build != nil:
		return r.build, "/build"
	}
	return nil, ""
}

// locate finds the object that describes the build, its JSON pointer, and the
// object around it that tells what changed.
func (r *record) locate(promoted bool) (outer, build *record, path string) {
	outer = r
	if in, _ := r.inner(promoted); in == nil && !r.names() {
		switch {
		case r.body != nil:
			outer, path = r.body, "/body"
		case r.msg != nil:
			outer, path = r.msg, "/msg"
		}
	}
	if in, inPath := outer.inner(promoted); in != nil && !outer.names() {
		return outer, in, path + inPath
	}
	return outer, outer, path
}
