import 'uplot/dist/uPlot.min.css';
import './colors.css';
import './base.css';
