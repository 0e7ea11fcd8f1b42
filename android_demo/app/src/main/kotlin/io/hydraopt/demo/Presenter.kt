package io.hydraopt.demo

import io.hydraopt.Cancellation
import io.hydraopt.HydraOptException
import io.hydraopt.MemoryException
import io.hydraopt.Model
import io.hydraopt.Options
import io.hydraopt.StoppedException
import io.hydraopt.TaskBundle
import io.hydraopt.TaskSession
import java.io.File
import java.util.concurrent.Executors

/** State that survives the process: names of bundle and task, and the prompt. */
data class Remembered(val bundle: String?, val task: String?, val prompt: String)

/**
 * Handles the screen's events and updates its state.
 *
 * All calls come from the main thread. The session has its own thread, which runs one
 * [Job] at a time; jobs update the state through [post].
 *
 * @param post runs a function on the main thread later.
 * @param memory bytes of the process.
 * @param freeMemory bytes that a program may have.
 * @param log takes every error, with all that the library tells.
 */
class Presenter(
    private val shelf: Shelf,
    private val post: (() -> Unit) -> Unit,
    private val memory: () -> Long = ProcessMemory::pss,
    private val freeMemory: () -> Long? = TaskSession::freeMemory,
    private val log: (Throwable) -> Unit = {}
) {
    private val worker = Executors.newSingleThreadExecutor { Thread(it, "session") }
    private var job = Job()

    private var session: TaskSession? = null // jobs' only
    private var switched = false // since the last answer; jobs' only
    private var tooLarge: File? = null // the bundle that was refused last; jobs' only

    /** The current state. */
    var state = State()
        private set

    /** Receives states, the current one immediately; null while there is no screen. */
    var view: ((State) -> Unit)? = null
        set(value) {
            field = value
            value?.invoke(state)
        }

    private fun show(change: State.() -> State) {
        state = state.change()
        view?.invoke(state)
    }

    /**
     * Work of the session's thread, until it ends, is stopped or another job follows.
     *
     * @param name the bundle or task that it is about.
     */
    private inner class Job(private val name: String = "") {
        val cancellation = Cancellation()
        val stopped get() = cancellation.isCancelled
        private val pieces = StringBuilder() // that are not shown yet

        fun stop() = cancellation.cancel()

        /** Shows a change, unless another job has begun. */
        fun show(change: State.() -> State) = post {
            if (job === this) this@Presenter.show(change)
        }

        /** Appends to the answer. Pieces that arrive faster than they are shown are combined. */
        fun append(piece: String) {
            val isFirst = synchronized(pieces) {
                pieces.append(piece)
                pieces.length == piece.length
            }
            if (isFirst) show { copy(answer = answer + taken()) }
        }

        private fun taken() = synchronized(pieces) { "$pieces".also { pieces.setLength(0) } }

        fun run(body: Job.() -> Unit) {
            try {
                if (!stopped) body()
            } catch (_: StoppedException) {
                // nothing to tell: it was asked for
            } catch (error: HydraOptException) {
                tell(error)
            } catch (error: OutOfMemoryError) {
                tell(error)
            }
            show { copy(work = Work.NONE) }
        }

        private fun tell(error: Throwable) {
            log(error)
            show { copy(problem = Problem(remedy(error, work), name)) }
        }
    }

    private fun work(
        work: Work,
        name: String,
        change: State.() -> State,
        body: Job.() -> Unit
    ) {
        job.stop()
        val next = Job(name)
        job = next
        show { change().copy(work = work, problem = null) }
        worker.execute { next.run(body) }
    }

    /** Finds bundles and opens the one of [remembered], or the only one. */
    fun start(remembered: Remembered? = null) {
        if (remembered != null) show { copy(prompt = remembered.prompt) }
        worker.execute {
            shelf.tidy()
            list { places ->
                val place = places.find { it.name == remembered?.bundle } ?: places.singleOrNull()
                if (place != null) open(place, remembered?.task)
            }
        }
    }

    private fun list(then: (List<Place>) -> Unit = {}) {
        val places = shelf.places()
        post {
            show { copy(places = places) }
            then(places)
        }
    }

    /** The state that [start] restores. */
    fun remembered(): Remembered = Remembered(state.bundle?.name, state.task, state.prompt)

    /** Opens a bundle instead of the current one, with [task] if it has it. */
    fun open(place: Place, task: String? = null) {
        if (!state.isOpen) return
        val work = if (place is Foreign) Work.COPYING else Work.OPENING
        work(work, place.name, { copy(picker = null) }) {
            val bundle = shelf.open(place) { stopped }
            session?.close() // two programs at a time might be too large
            session = null
            show { State(Work.OPENING, places, prompt = prompt) }
            val before = memory()
            val opened = load(bundle)
            session = opened
            val hasChat = (bundle.manifest.model as? Model.CausalLm)?.chat != null
            val shown = OpenBundle(place.name, bundle.tasks, bundle.bytes, hasChat)
            val figures = Figures(memoryBefore = before, memoryNow = memory())
            show { copy(bundle = shown, figures = figures) }
            if (task != null && task in bundle.tasks) switch(opened, task)
            list()
        }
    }

    /** Loads a program; one that was refused for its size is loaded the next time. */
    private fun load(bundle: TaskBundle): TaskSession {
        val again = bundle.directory == tooLarge
        tooLarge = null
        try {
            return TaskSession.open(bundle, freeMemory = if (again) null else freeMemory())
        } catch (error: MemoryException) {
            tooLarge = bundle.directory
            throw error
        }
    }

    /** Switches to a task. */
    fun pick(task: String) {
        if (!state.isOpen) return
        val change: State.() -> State = { copy(picker = null, answer = "", end = null) }
        work(Work.SWITCHING, task, change) { switch(session ?: return@work, task) }
    }

    private fun Job.switch(session: TaskSession, task: String) {
        show { copy(task = null) }
        val times = session.switchTo(task)
        switched = true
        show { copy(task = task, figures = figures.after(times)) }
    }

    /** Generates an answer with the current task. */
    fun run() {
        if (!state.canRun) return
        val options = Options(maxNewTokens = LONGEST, chat = state.chat)
        val prompt = state.prompt
        val name = state.bundle?.name.orEmpty()
        work(Work.ANSWERING, name, { copy(answer = "", end = null) }) {
            val session = session ?: return@work
            val answer = session.generate(prompt, options, cancellation, ::append)
            val first = switched
            switched = false
            val now = memory()
            show {
                copy(
                    end = answer.end,
                    tokens = answer.ids.size,
                    figures = figures.after(answer, first, now)
                )
            }
        }
    }

    /** Stops the running answer or copy; the partial answer stays. */
    fun stop() = job.stop()

    /** The prompt's text was changed. */
    fun type(prompt: String) {
        if (prompt != state.prompt) show { copy(prompt = prompt) }
    }

    /** Whether the prompt is one turn of a chat. */
    fun chat(chat: Boolean) = show { copy(chat = chat) }

    /** Shows or hides a list over the screen. */
    fun choose(picker: Picker?) {
        show { copy(picker = picker, query = "") }
        if (picker == Picker.BUNDLES) worker.execute { list() }
    }

    /** Searches tasks. */
    fun search(query: String) {
        if (query != state.query) show { copy(query = query) }
    }

    /** Reports an error outside of the session. */
    fun fail(problem: Problem) = show { copy(problem = problem) }

    /** Stops everything; the session's thread frees the program. */
    fun close() {
        view = null
        job.stop()
        worker.execute { session?.close() }
        worker.shutdown()
    }

    private companion object {
        const val LONGEST = 512 // tokens of an answer
    }
}
