from benchmarks import pairs, plan
import sys
p = plan.plan("quick")
with pairs.Bench(lambda s: print(s, flush=True)) as b:
    b.run(p, 5)
