// SPDX-License-Identifier: MIT

// The start race of lockd as a model for SPIN: the program "lsr" of stress/program, with one transition for each
// scheduling point, so that the states that SPIN stores are the states of the program.
//
//   -DFIXED=1  the thread waits until its creator has stored rq_task
//   -DPAD=m    T and E begin with m operations that nobody else sees
//   -DCONT=m   T and E begin with m rounds of locking and unlocking the pool
//
// S starts, T is the service thread, E has work for it. E meets the bug if it finds T idle while rq_task is not stored.
// The run goes on from there: S wakes T, so that every run comes to its end.

#ifndef FIXED
#define FIXED 0
#endif
#ifndef PAD
#define PAD 0
#endif
#ifndef CONT
#define CONT 0
#endif

#define FREE 0

// What makes the program longer; me is who holds the lock.
#if PAD
#define ROUNDS(me) do :: d_step { n + 1 < PAD -> n++ } :: d_step { n + 1 == PAD -> n++ }; break od;
#elif CONT
#define ROUNDS(me) do :: d_step { pool == FREE -> pool = me }; \
	if :: d_step { n + 1 < CONT -> pool = FREE; n++ } :: d_step { n + 1 == CONT -> pool = FREE; n++ }; break fi od;
#else
#define ROUNDS(me)
#endif

byte pool = FREE; // who holds the lock of the pool
byte pend;        // work that nobody has taken yet
bool idle;        // T waits for work
bool rq_task;     // is stored
bool busy, rq_err;
bool token;       // a wake-up for T
bool took;        // E found T idle
bool bug;
bool doneT, doneE;

active proctype S()
{
	run E();                                    // s1
	d_step { pool == FREE -> pool = 1 };        // s2
	d_step { pool = FREE };                     // s3
	run T();                                    // s4
	d_step { rq_task = true };                  // s5
	if
	:: d_step { FIXED || bug -> token = true }; // s6 unpark(T)
	   d_step { doneT -> skip }                 // s7 join(T)
	:: d_step { !FIXED && !bug && doneT -> skip } // s7 join(T)
	fi;
	d_step { doneE -> skip };                   // s8 join(E)
endS:	false
}

proctype T()
{
	short n;
	bool work;

#if FIXED
	d_step { token -> token = false };          // t0 park
#endif
	ROUNDS(2)
	if // SPIN does not let a break lead into a d_step
	:: d_step { true -> rq_err = false }      // t1
	fi;
	do
	:: d_step { pool == FREE -> pool = 2 };     // t2
	   d_step {                                 // t3 unlock; what it finds rides along
		pool = FREE;
		if
		:: pend > 0 -> pend--; idle = false; work = true
		:: else -> idle = true
		fi
	   };
	   if
	   :: d_step { !work && token -> token = false }           // t4 park
	   :: d_step { work -> busy = false; doneT = true }; break // t5
	   fi
	od;
endT:	false
}

proctype E()
{
	short n;

	ROUNDS(3)
	if // SPIN does not let a break lead into a d_step
	:: d_step { true -> busy = true }         // e1
	fi;
	d_step { pool == FREE -> pool = 3 };        // e2
	d_step {                                    // e3 unlock
		pool = FREE;
		pend++;
		took = idle;
		idle = false;
		if
		:: !took -> doneE = true
		:: else
		fi
	};
endE:	if
	:: d_step { took ->                         // e4 load(rq_task)
		if
		:: !rq_task -> bug = true; doneE = true
		:: else
		fi;
		assert(!bug)
	   }
	fi;
endW:	if
	:: d_step { !bug -> token = true; doneE = true } // e5 unpark(T)
	fi;
endX:	false
}
