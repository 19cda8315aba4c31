// SPDX-License-Identifier: MIT

package oracle

import (
	"fmt"
	"sort"
	"strings"
)

// What was started and stopped again leaves nothing behind. That no task is left is the floor's.
var leak = &Oracle{
	Name: "leak",
	Doc:  "at the end no object, timer, deferred work, module pin or namespace reference is left",
	End:  checkLeaks,
}

// telling are the classes that name a leak, before those that only go with them.
var telling = []string{"svc_serv", "svc_xprt", "svc_sock", "svc_rqst", "rpc_xprt", "rpc_rqst", "svc_deferred_req",
	"rpc_clnt", "sock"}

func checkLeaks(s *Subject) {
	if live := s.M.LiveObjects(); len(live) > 0 {
		var names []string
		title := ""
		for _, o := range live {
			names = append(names, o.Name())
		}
		sort.Strings(names)
		for _, class := range telling {
			for _, n := range names {
				if base, _, _ := strings.Cut(n, "#"); base == class && title == "" {
					title = base
				}
			}
		}
		if title == "" {
			title, _, _ = strings.Cut(names[0], "#")
		}
		s.fire("leak", title+" was never freed", strings.Join(names, "\n"))
		return
	}
	if armed := s.M.ArmedTimers(); len(armed) > 0 {
		sort.Strings(armed)
		s.fire("leak", "timer "+armed[0]+" is still armed", strings.Join(armed, "\n"))
		return
	}
	if s.Rpc != nil {
		if n := s.Rpc.Module.Refcnt.Peek(); n != 0 {
			s.fire("leak", "module sunrpc is still pinned", fmt.Sprintf("%d pins", n))
			return
		}
	}
	if s.netLeak != "" {
		s.fire("leak", "a namespace is still referenced", s.netLeak)
	}
}
