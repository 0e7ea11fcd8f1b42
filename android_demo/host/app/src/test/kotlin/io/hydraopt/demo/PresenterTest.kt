package io.hydraopt.demo

import io.hydraopt.End
import io.hydraopt.FileSource
import io.hydraopt.Options
import io.hydraopt.TaskSession
import java.io.File
import java.util.concurrent.CountDownLatch
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import kotlin.concurrent.thread
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

/** The presenter on a plain JVM, with real bundles. */
class PresenterTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val main = LinkedBlockingQueue<() -> Unit>()
    private val seen = ArrayList<State>()
    private val logged = LinkedBlockingQueue<Throwable>()
    private lateinit var pushed: File
    private lateinit var presenter: Presenter

    @Before
    fun make() {
        pushed = folder.newFolder("pushed")
        Fixtures.linked("zoo", pushed)
        presenter = made()
    }

    private fun made(freeMemory: () -> Long? = TaskSession::freeMemory): Presenter {
        val shelf = Shelf(File(folder.root, "own"), pushed) { listOf() }
        return Presenter(shelf, { main.add(it) }, freeMemory = freeMemory, log = logged::add)
            .also { it.view = { state -> seen.add(state) } }
    }

    @After
    fun close() = presenter.close()

    private val state get() = presenter.state

    private fun await(what: String, fit: (State) -> Boolean) =
        await("$what in $state", { main.poll(10, TimeUnit.MILLISECONDS)?.invoke() }) { fit(state) }

    private fun awaitRest() = await("rest") { it.work == Work.NONE && it.bundle != null }

    private fun start() {
        presenter.start()
        awaitRest()
    }

    /** The user is told what to do, and the log everything, in one line. */
    private fun assertTold(remedy: Remedy, name: String, message: String) {
        assertEquals(Problem(remedy, name), state.problem)
        val told = logged.single().message!!
        assertTrue("$told lacks: $message", message in told)
        assertFalse('\n' in told)
        logged.clear()
    }

    private fun open(name: String) {
        presenter.open(Stored(File(pushed, name), pushed = true))
        await("an end") { it.work == Work.NONE }
    }

    private fun ask(task: String, prompt: String) {
        presenter.pick(task)
        await("the task") { it.work == Work.NONE }
        presenter.type(prompt)
        presenter.run()
        await("the answer") { it.work == Work.NONE }
    }

    /** Opens the slow bundle and asks it; returns when the first pieces came. */
    private fun askSlowly(): Asked {
        Fixtures.linked("slow", pushed)
        open("slow")
        val asked = Fixtures.answers("slow").first()
        presenter.pick(asked.task)
        awaitRest()
        presenter.type(asked.prompt)
        presenter.run()
        await("a piece") { it.answer.length > 3 }
        assertEquals(Work.ANSWERING, state.work)
        return asked
    }

    @Test
    fun theOnlyBundleIsOpened() {
        start()
        assertEquals("zoo", state.bundle!!.name)
        assertEquals(40, state.bundle!!.tasks.size)
        assertEquals(listOf(Stored(File(pushed, "zoo"), true)), state.places)
        assertNull(state.task)
        assertFalse(state.canRun)
        assertTrue(state.figures.memoryNow!! > state.figures.memoryBefore!! / 2)
        assertEquals(listOf(Work.NONE, Work.OPENING, Work.NONE), seen.map { it.work }.runs())
    }

    private fun <T> List<T>.runs() = filterIndexed { i, x -> i == 0 || x != this[i - 1] }

    @Test
    fun allTasksAnswerAsInPython() {
        start()
        for ((task, prompt, answer) in Fixtures.answers("zoo")) {
            ask(task, prompt)
            assertEquals(task, state.task)
            assertEquals(answer, state.answer)
            assertEquals(End.END_TOKEN, state.end)
            assertNull(state.problem)
        }
        assertTrue("$logged", logged.isEmpty())
        val figures = state.figures
        assertEquals(40, figures.switches.size)
        assertTrue(figures.switchLow!! < figures.switchMedian!!)
        assertTrue(figures.switchMedian!! < figures.switchHigh!!)
        assertTrue(figures.firstToken!! > 0 && figures.prefill!! > 0 && figures.decode!! > 0)
    }

    @Test
    fun anAnswerComesPieceByPiece() {
        start()
        val answer = askSlowly().answer
        await("the end") { it.work == Work.NONE }
        assertEquals(answer, state.answer)
        val texts = seen.map { it.answer }.filter { it.isNotEmpty() }.distinct()
        assertTrue("$texts", texts.size > 3)
        for (text in texts) assertTrue("$text does not begin $answer", answer.startsWith(text))
    }

    @Test
    fun onlyTheFirstAnswerAfterASwitchTellsItsFirstToken() {
        start()
        val (task, prompt) = Fixtures.answers("zoo").first()
        ask(task, prompt)
        val first = state.figures.firstToken
        presenter.run()
        await("the answer again") { it.work == Work.NONE }
        assertEquals(first, state.figures.firstToken)
    }

    @Test
    fun stoppingKeepsWhatCame() {
        start()
        val asked = askSlowly()
        presenter.stop()
        await("the end") { it.work == Work.NONE }
        assertEquals(End.CANCELLED, state.end)
        assertTrue(state.answer.length < asked.answer.length)
        assertTrue(asked.answer.startsWith(state.answer.trimEnd('\uFFFD')))
        presenter.run()
        await("a whole answer") { it.work == Work.NONE }
        assertEquals(asked.answer, state.answer)
    }

    @Test
    fun anotherTaskEndsTheAnswer() {
        start()
        askSlowly()
        seen.clear()
        presenter.pick("second")
        await("the switch") { it.work == Work.NONE }
        assertEquals("second", state.task)
        assertEquals(setOf(""), seen.map { it.answer }.toSet())
        assertNull(state.end)
    }

    @Test
    fun anotherBundleEndsTheAnswer() {
        start()
        askSlowly()
        open("zoo")
        assertEquals("zoo", state.bundle!!.name)
        assertEquals("", state.answer)
        assertTrue(state.prompt.isNotEmpty())
    }

    @Test
    fun anotherScreenSeesWhatTheFirstOneDid() {
        start()
        val asked = askSlowly()
        presenter.view = null
        val count = seen.size
        await("more") { it.answer.length > 10 }
        assertEquals(count, seen.size)
        val others = ArrayList<State>()
        presenter.view = { others.add(it) }
        assertTrue(others.single().answer.length > 10)
        await("the end") { it.work == Work.NONE }
        assertEquals(asked.answer, others.last().answer)
    }

    @Test
    fun wrongBundlesAreTold() {
        start()
        val cases = mapOf<String, (File) -> Unit>(
            "manifest.json is missing" to { File(it, "manifest.json").delete() },
            "model.pte is damaged or from another directory" to {
                Fixtures.cut(File(it, "model.pte"))
            },
            "has format version 9, expected 8; update hydraopt" to {
                val manifest = File(it, "manifest.json")
                val text = manifest.readText()
                manifest.writeText(text.replace("\"format_version\": 8", "\"format_version\": 9"))
            },
            "model.pte is missing; export or copy it again" to { File(it, "model.pte").delete() }
        )
        for ((message, damage) in cases) {
            val bundle = Fixtures.copied("zoo", pushed, "damaged-${message.length}")
            damage(bundle)
            open(bundle.name)
            assertTold(Remedy.OTHER_BUNDLE, bundle.name, message)
            assertEquals("what was open stays", "zoo", state.bundle?.name)
        }
        open("zoo")
        assertNull(state.problem)
    }

    @Test
    fun aDirectoryThatIsNoBundleIsToldWhenItIsCopied() {
        start()
        presenter.open(Foreign(FileSource(folder.newFolder("photos")), picked = true))
        await("an end") { it.work == Work.NONE }
        assertTold(Remedy.PICK_AGAIN, "photos", "photos has no manifest.json")
        assertEquals("zoo", state.bundle?.name)
    }

    @Test
    fun whatCannotBeWrittenIsTold() {
        start()
        File(folder.root, "own").run { deleteRecursively() && createNewFile() }
        presenter.open(Foreign(FileSource(Fixtures.bundle("slow")), picked = true))
        await("an end") { it.work == Work.NONE }
        assertTold(Remedy.FREE_SPACE, "slow", "cannot write")
    }

    @Test
    fun aBundleThatIsTooLargeIsOpenedWhenItIsChosenAgain() {
        presenter.close()
        presenter = made(freeMemory = { 1_000_000 })
        for (round in 1..2) {
            open("zoo")
            assertTold(Remedy.OPEN_ALL_THE_SAME, "zoo", "but only 1 MB of memory are free")
            assertNull(state.bundle)
            open("zoo")
            assertNull(state.problem)
            assertNotNull(state.bundle)
        }
    }

    @Test
    fun aPackThatIsDamagedLaterIsToldAndOtherTasksGoOn() {
        val copy = Fixtures.copied("slow", pushed)
        presenter.open(Stored(copy, true))
        awaitRest()
        Fixtures.flip(File(copy, "packs/second.pack"))
        presenter.pick("second")
        await("the refusal") { it.work == Work.NONE }
        assertTold(Remedy.OTHER_TASK, "second", "second.pack is damaged")
        assertNull(state.task)
        val good = Fixtures.answers("slow").first()
        ask(good.task, good.prompt)
        assertEquals(good.answer, state.answer)
        assertNull(state.problem)
    }

    @Test
    fun wrongTasksAndPromptsAreTold() {
        start()
        presenter.pick("delta")
        await("the refusal") { it.work == Work.NONE }
        assertTold(Remedy.OTHER_TASK, "delta", "no task 'delta'; there are: ")
        ask(state.bundle!!.tasks.first(), "x".repeat(10_000))
        assertTold(Remedy.OTHER_PROMPT, "zoo", "tokens, expected at most")
        assertEquals("", state.answer)
        presenter.type("")
        assertFalse(state.canRun)
    }

    @Test
    fun aBundleIsOpenedWhileAnotherSessionGenerates() {
        val generates = CountDownLatch(1)
        val goOn = CountDownLatch(1)
        val other = thread {
            TaskSession.open(Fixtures.bundle("zoo")).use {
                it.switchTo(it.tasks.first())
                it.generate("a", Options(maxNewTokens = 2)) {
                    generates.countDown()
                    goOn.await()
                }
            }
        }
        generates.await()
        open("zoo")
        assertNull(state.problem)
        assertNotNull(state.bundle)
        goOn.countDown()
        other.join()
    }

    @Test
    fun anotherProcessComesBackToTheSame() {
        start()
        val (task, prompt) = Fixtures.answers("zoo")[7]
        ask(task, prompt)
        val remembered = presenter.remembered()
        presenter.close()
        Fixtures.linked("slow", pushed)
        presenter = made()
        presenter.start(remembered)
        await("the task") { it.task != null && it.work == Work.NONE }
        assertEquals(remembered, presenter.remembered())
        assertEquals(Remembered("zoo", task, prompt), remembered)
    }

    @Test
    fun tasksAreFoundByWords() {
        start()
        presenter.choose(Picker.TASKS)
        assertEquals(40, state.found.size)
        presenter.search(" DE money")
        assertEquals(listOf("money-de"), state.found)
        presenter.choose(null)
        assertEquals(40, state.found.size)
    }
}
