"""Every string that people read in the console, in one place: a file a page; templates see this package as ``words``.

Braces are filled by ``format``.
"""

from broker.web.console.words.agents import Agents
from broker.web.console.words.approval import Approval
from broker.web.console.words.audit import Audit
from broker.web.console.words.breakglass import Breakglass
from broker.web.console.words.common import Common
from broker.web.console.words.exports import Exports
from broker.web.console.words.health import Health
from broker.web.console.words.inbox import Inbox
from broker.web.console.words.incidents import Incidents
from broker.web.console.words.keys import Keys
from broker.web.console.words.live import Live
from broker.web.console.words.log import Log
from broker.web.console.words.nav import Nav
from broker.web.console.words.observation import Observation
from broker.web.console.words.policies import Policies
from broker.web.console.words.problem import Problem
from broker.web.console.words.redaction import Redaction
from broker.web.console.words.signin import SignIn
from broker.web.console.words.simulate import Simulate
from broker.web.console.words.timebox import TimeBox
from broker.web.console.words.usage import Usage

agents = Agents()
approval = Approval()
audit = Audit()
breakglass = Breakglass()
common = Common()
exports = Exports()
health = Health()
inbox = Inbox()
incidents = Incidents()
keys = Keys()
live = Live()
log = Log()
nav = Nav()
observation = Observation()
policies = Policies()
problem = Problem()
redaction = Redaction()
signin = SignIn()
simulate = Simulate()
timebox = TimeBox()
usage = Usage()
