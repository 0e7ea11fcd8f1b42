package io.hydraopt.demo

import android.view.KeyEvent
import android.view.View
import android.view.ViewGroup
import android.widget.ListView
import android.widget.SeekBar
import kotlin.math.abs
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test

/** Tasks are chosen, weighed and mixed. */
class TaskScreenTest : ScreenCase() {
    @Test
    fun theCurrentTaskIsMarkedAmongTheOthers() {
        start()
        phone.tap(R.id.task)
        assertEquals(listOf<String>(), phone.marked)
        val last = phone.rows.last()
        phone.tapRow(last)
        phone.awaitRest()
        phone.tap(R.id.task)
        assertEquals(listOf(last), phone.marked)
        val list = phone.dialog!!.findViewById<ListView>(R.id.list)!!
        phone.await("scrolling to it") { list.lastVisiblePosition == phone.rows.size - 1 }
        assertTrue(list.firstVisiblePosition > 0)
        phone.search("date")
        assertEquals(listOf<String>(), phone.marked)
    }

    @Test
    fun theBaseIsChosenAndMarked() {
        start()
        phone.tap(R.id.task)
        phone.tapRow(BASE)
        phone.awaitRest()
        assertEquals(BASE, phone.text(R.id.task))
        assertEquals("it has no weight", 0, phone.view<ViewGroup>(R.id.weights).childCount)
        phone.tap(R.id.task)
        assertEquals(listOf(BASE), phone.marked)
        phone.search("date")
        assertFalse(BASE in phone.rows)
    }

    @Test
    fun backClosesTheList() {
        start()
        repeat(2) { // open again only if the presenter knows that it was closed
            phone.tap(R.id.task)
            assertNotNull(phone.dialog)
            phone.back()
            assertNull(phone.dialog)
        }
    }

    private fun row(task: Int) = phone.view<ViewGroup>(R.id.weights).getChildAt(task)!!

    private fun bar(task: Int): SeekBar = row(task).findViewById(R.id.weight)!!

    /** As TalkBack and arrow keys do. */
    private fun weigh(task: Int, steps: Int) {
        val key = if (steps > 0) KeyEvent.KEYCODE_DPAD_RIGHT else KeyEvent.KEYCODE_DPAD_LEFT
        repeat(abs(steps)) { bar(task).onKeyDown(key, KeyEvent(KeyEvent.ACTION_DOWN, key)) }
        phone.awaitRest()
    }

    @Test
    fun tasksAreMixedWeighedAndTakenOut() {
        start("portable")
        phone.choose("beta")
        assertEquals("beta, weight 1.00", bar(0).contentDescription)
        weigh(0, -5)
        assertEquals("beta, weight 0.75", bar(0).contentDescription)
        phone.tap(R.id.add)
        assertEquals(listOf("alpha", "gamma"), phone.rows)
        phone.tapRow("gamma")
        phone.awaitRest()
        assertEquals("beta + gamma", phone.text(R.id.task))
        assertEquals("gamma, weight 1.00", bar(1).contentDescription)
        phone.tap(R.id.task)
        assertEquals(listOf("beta", "gamma"), phone.marked)
        phone.presenter.choose(null)
        phone.change("+land")
        assertEquals("beta, weight 0.75", bar(0).contentDescription)
        val remove = row(0).findViewById<View>(R.id.remove)!!
        assertEquals("Take beta out", remove.contentDescription)
        remove.performClick()
        phone.awaitRest()
        assertEquals("gamma", phone.text(R.id.task))
        assertFalse("one task cannot be taken out", isShown(R.id.remove))
    }

    @Test
    fun aBundleTellsInOneLineWhyTasksCannotBeMixed() {
        for ((bundle, words) in listOf(
            "zoo" to "Cannot be mixed: each task has rows of its own.",
            "sights" to "Cannot be mixed: each task has its own classifier.",
            "methods" to "No weights, no mixtures: tasks are in the program."
        )) {
            val phone = Phone()
            Fixtures.linked(bundle, Phone.pushed)
            phone.start().await("a list") { phone.presenter.state.places.isNotEmpty() }
            phone.presenter.open(phone.presenter.state.places.first { it.name == bundle })
            phone.awaitRest()
            assertEquals(words, phone.text(R.id.mixing))
            assertFalse(phone.view<View>(R.id.add).isShown)
            phone.controller.pause().stop().destroy()
        }
    }

    private companion object {
        const val BASE = "Base model, without an adapter"
    }
}
