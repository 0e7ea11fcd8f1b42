package io.hydraopt.demo

import io.hydraopt.FileSource
import io.hydraopt.Options
import io.hydraopt.TaskSession
import java.io.File
import java.util.concurrent.CountDownLatch
import kotlin.concurrent.thread
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test

/** Bundles are opened, copied and refused; on the plain JVM. */
class OpeningTest : PresenterCase() {
    @Test
    fun theOnlyBundleIsOpened() {
        start()
        assertEquals("zoo", state.bundle!!.name)
        assertEquals(40, state.bundle!!.tasks.size)
        assertEquals(listOf(Stored(File(pushed, "zoo"), true)), state.places)
        assertNull(state.weights)
        assertFalse(state.canRun)
        assertTrue(state.figures.memoryNow!! > state.figures.memoryBefore!! / 2)
        assertEquals(listOf(Work.NONE, Work.OPENING, Work.NONE), seen.map { it.work }.runs())
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
        await("the task") { it.weights != null && it.work == Work.NONE }
        assertEquals(remembered, presenter.remembered())
        val expected = Remembered("zoo", mapOf(task to 1f), prompt, false, state.talk)
        assertEquals(expected, remembered)
    }

    private fun <T> List<T>.runs() = filterIndexed { i, x -> i == 0 || x != this[i - 1] }
}
