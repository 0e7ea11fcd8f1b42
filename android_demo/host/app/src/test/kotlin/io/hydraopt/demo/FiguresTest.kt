package io.hydraopt.demo

import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test

/** What is measured. */
class FiguresTest {
    @Test
    fun percentilesAreTheProfilers() {
        val figures = Figures(switches = listOf(4.0, 1.0, 3.0, 2.0))
        assertEquals(2.5, figures.switchPercentile(50)!!, 1e-9)
        assertEquals(3.85, figures.switchPercentile(95)!!, 1e-9)
        assertNull(Figures().switchPercentile(50))
    }

    @Test
    fun memoryIsWhatTheKernelTells() {
        assertTrue(ProcessMemory.pss() > 10_000_000)
    }
}
