package sandbox

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// method is a call that the hub answers. Its Python name and parameters are
// what the hub's faults speak of.
type method struct {
	python   string
	params   []string
	required int
	call     func(*Koji, map[string]any) (any, error)
}

// hubMethods are those that an anonymous reader of builds needs; the
// signatures are those of Koji's hub/kojihub/kojihub.py.
func hubMethods(name string) (method, bool) {
	switch name {
	case "getAPIVersion":
		return method{python: "RootExports.getAPIVersion", call: func(*Koji, map[string]any) (any, error) {
			return int64(1), nil
		}}, true
	case "getKojiVersion":
		return method{python: "RootExports.getKojiVersion", call: func(*Koji, map[string]any) (any, error) {
			return kojiVersion, nil
		}}, true
	case "getBuild":
		return method{"get_build", []string{"buildInfo", "strict"}, 1, (*Koji).getBuild}, true
	case "getBuildLogs":
		return method{"RootExports.getBuildLogs", []string{"build"}, 1, (*Koji).getBuildLogs}, true
	case "listArchives":
		return method{"list_archives", []string{
			"buildID", "buildrootID", "componentBuildrootID", "hostID", "type", "filename", "size", "checksum",
			"checksum_type", "typeInfo", "queryOpts", "imageID", "archiveID", "strict",
		}, 0, (*Koji).listArchives}, true
	case "listBuilds":
		return method{"RootExports.listBuilds", []string{
			"packageID", "userID", "taskID", "prefix", "state", "volumeID", "source", "createdBefore", "createdAfter",
			"completeBefore", "completeAfter", "type", "typeInfo", "queryOpts", "pattern", "cgID", "draft",
		}, 0, (*Koji).listBuilds}, true
	}
	return method{}, false
}

func (k *Koji) serveHub(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Koji-Version", kojiVersion)
	w.Header().Set("Content-Type", "text/plain")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		w.WriteHeader(http.StatusMethodNotAllowed)
		_, _ = io.WriteString(w, "Method Not Allowed\nThis is an XML-RPC server. Only POST requests are accepted.\n")
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBytes))
	if err != nil {
		return
	}
	if len(body) == 0 {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, "Invalid request: Empty request\n")
		return
	}
	name, params, err := decodeCall(body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, "Invalid request: %v\n", err)
		return
	}
	answer := encodeResponse(k.call(name, params))
	w.Header().Set("Content-Type", "text/xml")
	_, _ = w.Write(answer) // the client may be gone
}

func (k *Koji) call(name string, params []any) (any, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.offline != "" {
		return nil, &rpcFault{code: faultOffline, text: k.offline}
	}
	m, ok := hubMethods(name)
	if !ok {
		return nil, genericFault("Invalid method: %s", name)
	}
	args, err := m.bind(params)
	if err != nil {
		return nil, err
	}
	return m.call(k, args)
}

// bind gives the parameters their names. Keywords travel as a last struct that
// holds __starstar.
func (m method) bind(params []any) (map[string]any, error) {
	var keywords object
	if n := len(params); n > 0 {
		if last, ok := params[n-1].(object); ok && last.get("__starstar") == true {
			keywords, params = last, params[:n-1]
		}
	}
	if len(params) > len(m.params) {
		return nil, badParam("%s() takes from %d to %d positional arguments but %d were given",
			m.python, m.required, len(m.params), len(params))
	}
	args := map[string]any{}
	for i, v := range params {
		args[m.params[i]] = v
	}
	for _, keyword := range keywords {
		_, twice := args[keyword.name]
		switch {
		case keyword.name == "__starstar":
		case !slices.Contains(m.params, keyword.name):
			return nil, badParam("%s() got an unexpected keyword argument '%s'", m.python, keyword.name)
		case twice:
			return nil, badParam("%s() got multiple values for argument '%s'", m.python, keyword.name)
		default:
			args[keyword.name] = keyword.value
		}
	}
	for _, name := range m.params[:m.required] {
		if _, ok := args[name]; !ok {
			return nil, badParam("%s() missing 1 required positional argument: '%s'", m.python, name)
		}
	}
	return args, nil
}

func badParam(format string, args ...any) error {
	return &rpcFault{code: faultBadParam, text: fmt.Sprintf(format, args...)}
}

func (k *Koji) getBuild(args map[string]any) (any, error) {
	r, err := k.find(args["buildInfo"], args["strict"] == true)
	if r == nil {
		return nil, err
	}
	return r.info(), nil
}

func (k *Koji) getBuildLogs(args map[string]any) (any, error) {
	r, err := k.find(args["build"], true)
	if r == nil {
		return nil, err
	}
	return r.logs(), nil
}

// listArchives filters by build, type and file name. What else a hub can filter
// by is a fault here, so that nobody takes an unfiltered list for a filtered one.
func (k *Koji) listArchives(args map[string]any) (any, error) {
	for name, v := range args {
		if v != nil && v != false && !slices.Contains([]string{"buildID", "type", "filename"}, name) {
			return nil, genericFault("the sandbox does not filter archives by %s", name)
		}
	}
	kind, _ := args["type"].(string)
	if !slices.Contains([]string{"", "image", "operator-manifests", "maven", "win", "remote-sources"}, kind) {
		return nil, genericFault("unsupported archive type: %s", kind)
	}
	id, ok := args["buildID"].(int64)
	if !ok {
		return nil, genericFault("the sandbox lists archives of one build only")
	}
	list := []any{}
	r := k.byID[id]
	if r == nil {
		return list, nil
	}
	for _, a := range r.archives(kind == "image") {
		if kind != "" && a.get("btype") != kind {
			continue
		}
		if name := args["filename"]; name == nil || a.get("filename") == name {
			list = append(list, a)
		}
	}
	return list, nil
}

// find is the hub's way of reading what names a build. Unknown is nil without
// an error, unless strict.
func (k *Koji) find(info any, strict bool) (*hubBuild, error) {
	var (
		r     *hubBuild
		shown string
	)
	switch v := info.(type) {
	case int64:
		r, shown = k.byID[v], fmt.Sprint(v)
	case string:
		if !isNVR(v) {
			return nil, genericFault("invalid format: %s", v)
		}
		r, shown = k.byNVR[v], "'"+v+"'"
	case object:
		if !v.has("name") || !v.has("version") || !v.has("release") {
			return nil, genericFault("did not provide name, version, and release")
		}
		nvr := fmt.Sprintf("%v-%v-%v", v.get("name"), v.get("version"), v.get("release"))
		r, shown = k.byNVR[nvr], "'"+nvr+"'"
	default:
		return nil, genericFault("Invalid type for argument: <class '%s'>", pythonType(info))
	}
	if r == nil && strict {
		return nil, genericFault("No such build: %s", shown)
	}
	return r, nil
}

// isNVR is koji.parse_NVR: two dashes with something after each.
func isNVR(s string) bool {
	last := strings.LastIndexByte(s, '-')
	if last < 0 || last == len(s)-1 {
		return false
	}
	first := strings.LastIndexByte(s[:last], '-')
	return first >= 0 && first < last-1
}

func pythonType(v any) string {
	switch v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case float64:
		return "float"
	case []any:
		return "list"
	}
	return "object"
}
