package io.hydraopt.demo

import io.hydraopt.TaskSession
import java.io.File
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.rules.TemporaryFolder

/** A presenter on the plain JVM, with real bundles. */
abstract class PresenterCase {
    @get:Rule
    val folder = TemporaryFolder()

    protected val main = LinkedBlockingQueue<() -> Unit>()
    protected val seen = ArrayList<State>()
    protected val logged = LinkedBlockingQueue<Throwable>()
    protected lateinit var pushed: File
    protected lateinit var presenter: Presenter

    @Before
    fun make() {
        pushed = folder.newFolder("pushed")
        Fixtures.linked("zoo", pushed)
        presenter = made()
    }

    protected fun made(freeMemory: () -> Long? = TaskSession::freeMemory): Presenter {
        val shelf = Shelf(File(folder.root, "own"), pushed) { listOf() }
        return Presenter(shelf, { main.add(it) }, freeMemory = freeMemory, log = logged::add)
            .also { it.view = { state -> seen.add(state) } }
    }

    @After
    fun close() = presenter.close()

    protected val state get() = presenter.state

    protected fun await(what: String, fit: (State) -> Boolean) =
        await("$what in $state", { main.poll(10, TimeUnit.MILLISECONDS)?.invoke() }) { fit(state) }

    protected fun awaitRest() = await("rest") { it.work == Work.NONE && it.bundle != null }

    protected fun start() {
        presenter.start()
        awaitRest()
    }

    /** The user is told what to do, and the log everything, in one line. */
    protected fun assertTold(remedy: Remedy, name: String, message: String) {
        assertEquals(Problem(remedy, name), state.problem)
        val told = logged.single().message!!
        assertTrue("$told lacks: $message", message in told)
        assertFalse('\n' in told)
        logged.clear()
    }

    protected fun open(name: String) {
        presenter.open(Stored(File(pushed, name), pushed = true))
        await("an end") { it.work == Work.NONE }
    }

    /** Opens one of the bundles that were made, by its name. */
    protected fun opened(name: String) {
        Fixtures.linked(name, pushed)
        open(name)
        assertNull("${state.problem} $logged", state.problem)
    }

    protected fun pick(task: String) {
        presenter.pick(task)
        await("the task") { it.work == Work.NONE }
    }

    protected fun send(message: String) {
        presenter.type(message)
        presenter.run()
        await("the answer") { it.work == Work.NONE }
    }

    protected fun ask(task: String, prompt: String) {
        pick(task)
        send(prompt)
    }

    /** Opens the slow bundle and asks it; returns when the first pieces came. */
    protected fun askSlowly(): Asked {
        opened("slow")
        val asked = Fixtures.answers("slow").first()
        presenter.pick(asked.task)
        awaitRest()
        presenter.type(asked.prompt)
        presenter.run()
        await("a piece") { it.answer.length > 3 }
        assertEquals(Work.ANSWERING, state.work)
        return asked
    }
}
